"""Synthetic validation: can the detector tell images with a pasted defect from their bases?

The idea of validating a detector on synthetic anomalies, made without labels, is that of Fung et
al., "Model Selection of Anomaly Detectors in the Absence of Labeled Validation Data" (SWSA). The
unlabelled batch serves as a base too, because held-out normals need not look like it (other
items, other light); then some bases hold a true anomaly, and a good detector scores those high.
Which statistic bears that best was tried on simulated scores (64 settings of one sensitivity to
all defects each, 100 images, share 0 to 0.4 of anomalies, 64 defects; mean Spearman correlation
with the true AUROC over 40 draws, defects that add to a score / that replace its maximum):

    share of anomalies                    0         0.1        0.25        0.4
    AUROC against the whole batch     .91 / .90  .82 / .80  .84 / .76  .82 / .62
    AUROC against the bases           .91 / .90  .83 / .79  .84 / .76  .83 / .63
    wins over the own base only        -  / .87   -  / .77   -  / .72   -  / .60

A pasted defect nearly always beats its own base, so the paired win rate saturates (always 1 where
defects add) and forgets how much normal images differ from each other. Taking as negatives just
the bases, each as often as it was used, costs nothing with many defects and takes out the luck of
which bases a family drew: with 13 defects and a share of 0.25 it gains where defects add (.80
against .76) and loses a little where they replace (.61 against .65). On small networks trained on
real surfaces (112 scoring settings, 64 defects on a batch of 160 with 40 anomalies, one network
each, defects still read bilinearly) it was ahead each time: commutators .58 against .20 and .35
against .27, broken magnetic tiles -.15 against -.23 (there no criterion ranked the settings);
paired wins came to .49, .09 and -.34.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.criteria.auroc import auroc
from methods.criteria.contract import Criterion, Evidence
from methods.criteria.registry import register_criterion

SCORES = frozenset(
    {
        "test_scores",
        "held_out_scores",
        "synthetic_scores",
        "synthetic_on_test",
        "synthetic_base",
        "synthetic_family",
        "families",
    }
)


def family_aurocs(evidence: Evidence, on_test: bool) -> Tensor:
    """AUROC of each defect family against the images it was pasted on: float64 `[F, S]`.

    On the unlabelled batch or on the held-out normals. NaN for a family without images there.
    """
    bases = evidence.test_scores if on_test else evidence.held_out_scores
    rows = []
    for number in range(len(evidence.families)):
        chosen = (evidence.synthetic_family == number) & (evidence.synthetic_on_test == on_test)
        negatives = bases[:, evidence.synthetic_base[chosen]]
        rows.append(auroc(evidence.synthetic_scores[:, chosen], negatives))
    return torch.stack(rows)


def synthetic_validation(evidence: Evidence) -> Tensor:
    """Mean over families of the mean of both AUROCs, on held-out normals and on the batch.

    float64 `[S]`: 1 where every defect outscores every base, 1/2 for guessing. A family without
    images on one side counts with the other; NaN where there is none at all, or a score is NaN.
    """
    both = torch.stack([family_aurocs(evidence, on_test) for on_test in (False, True)])
    value = both.nanmean(0).nanmean(0)
    spoilt = evidence.synthetic_scores.isnan().any(1) | evidence.test_scores.isnan().any(1)
    return value.masked_fill(spoilt | evidence.held_out_scores.isnan().any(1), torch.nan)


register_criterion(
    Criterion(
        name="synthetic_validation",
        title="AUROC on synthetic defects that training does not use",
        direction="maximize",
        source="after Fung et al., SWSA; families and bases are ours",
        sees_scoring=True,
        evaluate=synthetic_validation,
        needs=SCORES,
        invariances=frozenset({"shift", "scale", "monotone"}),
    )
)
