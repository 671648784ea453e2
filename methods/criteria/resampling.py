"""How far a criterion hangs on which images happened to be there: the bootstrap over images.

The unit is an image of the batch, of the held-out normals, or of the training images; a synthetic
image goes along with the image that it was made from, as often as that one is drawn. With the same
generator the same images are drawn for every detector of a study, so that what they have in common
cancels where two detectors are compared (Efron and Tibshirani, "An Introduction to the Bootstrap").
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from methods.criteria.contract import Criterion, Evidence

# Which fields hold a value a setting and image, and which a row an image.
_COLUMNS = {"test": "test_scores", "held_out": "held_out_scores", "noise": "noise_scores"}
_ROWS = {
    "train_embeddings": "train",
    "corrupted_embeddings": "corrupted",
    "test_embeddings": "test",
    "test_appearance": "test",
    "normal_appearance": "normal",
    "test_reference": "test",
}
_SYNTHETIC_ROWS = (
    "synthetic_family",
    "synthetic_cell",
    "synthetic_appearance",
    "synthetic_reference",
)


def resampled_values(
    criterion: Criterion, evidence: Evidence, setting: int, draws: int, generator: torch.Generator
) -> Tensor:
    """A criterion under one scoring setting on `draws` bootstrap samples of images: float64 `[B]`.

    NaN where a sample leaves it undefined. `generator` is one of the processor's.
    """
    one = _one_setting(evidence, setting)
    values = [criterion.evaluate(resample(one, generator))[0] for _ in range(draws)]
    return torch.stack(values).to("cpu", torch.float64)


def resample(evidence: Evidence, generator: torch.Generator) -> Evidence:
    """As many images of each kind, drawn with replacement."""
    drawn: dict[str, Tensor] = {}

    def places(kind: str, count: int) -> Tensor:
        if kind not in drawn:
            chosen = torch.randint(count, (count,), generator=generator)
            drawn[kind] = chosen.to(evidence.test_scores.device)
        return drawn[kind]

    changed: dict[str, Any] = {}
    for kind, name in _COLUMNS.items():
        scores = getattr(evidence, name)
        if scores is not None:
            changed[name] = scores[:, places(kind, scores.shape[1])]
    for name, kind in _ROWS.items():
        rows = getattr(evidence, name)
        if rows is not None and len(rows):
            changed[name] = rows[places(kind, len(rows))]
    made, base = _followers(evidence, drawn["test"], drawn["held_out"])
    changed["synthetic_scores"] = evidence.synthetic_scores[:, made]
    changed["synthetic_on_test"] = evidence.synthetic_on_test[made]
    changed["synthetic_base"] = base
    for name in _SYNTHETIC_ROWS:
        rows = getattr(evidence, name)
        if rows is not None:
            changed[name] = rows[made]
    return replace(evidence, **changed)


def _followers(evidence: Evidence, test: Tensor, held_out: Tensor) -> tuple[Tensor, Tensor]:
    """Which synthetic images go along, each once for every draw of its base, and where that is."""
    made, base = [], []
    for on_test, places in ((True, test), (False, held_out)):
        own = (evidence.synthetic_on_test == on_test).nonzero().squeeze(1)
        which, where = (evidence.synthetic_base[own][:, None] == places[None]).nonzero(
            as_tuple=True
        )
        made.append(own[which])
        base.append(where)
    return torch.cat(made), torch.cat(base)


def _one_setting(evidence: Evidence, setting: int) -> Evidence:
    names = (*_COLUMNS.values(), "synthetic_scores")
    rows = {name: getattr(evidence, name) for name in names}
    kept = {n: scores[setting : setting + 1] for n, scores in rows.items() if scores is not None}
    return replace(evidence, **kept)
