"""Synthetic validation together with what a fixed detector says, as far as that one can be trusted.

Synthetic validation knows which images hold a defect, but not whether true defects look like those.
The fixed, untrained detector (`methods.criteria.reference`) looks at the true batch, but may be
blind. Pasted defects tell: the AUROC with which it finds them itself, less the 1/2 of guessing, is
the weight of agreeing with it. Both parts are in units of AUROC, and no constant is tuned: a
detector of the same ranking as the reference (correlation 1) gains what the reference has shown, an
unrelated one nothing, the opposite one loses it. A reference that is no better than guessing has no
say. The weight is the same for all trials of a study.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from methods.criteria.contract import Criterion, Evidence
from methods.criteria.reference import reference_agreement, reference_scores
from methods.criteria.registry import register_criterion
from methods.criteria.synthetic import SCORES, family_aurocs, synthetic_validation


def reference_validation(evidence: Evidence) -> float:
    """The fixed detector's own AUROC on defects pasted on the batch: the mean over families.

    NaN where it cannot be told: nothing pasted on the batch, or no fixed embedding.
    """
    found = reference_scores(evidence)
    if found is None or found[1] is None:
        return math.nan
    return _validation(evidence, found[0], found[1])


def _validation(evidence: Evidence, test: Tensor, synthetic: Tensor) -> float:
    own = replace(evidence, test_scores=test[None], synthetic_scores=synthetic[None])
    return float(family_aurocs(own, on_test=True).nanmean())


def referenced(validation: Tensor, agreement: Tensor, reference: float) -> Tensor:
    """Synthetic validation `[S]` with the agreement `[S]` with a reference of AUROC `reference`.

    An undefined agreement, or reference, says nothing. 1/2 for guessing, at most 3/2.
    """
    trust = 0.0 if math.isnan(reference) else max(reference - 0.5, 0.0)
    return validation + trust * agreement.nan_to_num(0.0)


def referenced_synthetic_validation(evidence: Evidence) -> Tensor:
    """float64 `[S]`; NaN where synthetic validation is, or without a fixed embedding."""
    found = reference_scores(evidence)
    if found is None or found[1] is None:
        return evidence.nowhere()
    agreement = reference_agreement(evidence.test_scores, found[0])
    reference = _validation(evidence, found[0], found[1])
    return referenced(synthetic_validation(evidence), agreement, reference)


register_criterion(
    Criterion(
        name="referenced_synthetic_validation",
        title="AUROC on synthetic defects, and agreement with a fixed detector that finds them",
        direction="maximize",
        source="ours; after Fung et al., SWSA",
        sees_scoring=True,
        evaluate=referenced_synthetic_validation,
        needs=SCORES | {"normal_appearance", "test_appearance", "synthetic_appearance"},
        invariances=frozenset({"shift", "scale", "monotone"}),
    )
)
