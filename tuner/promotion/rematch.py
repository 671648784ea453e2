"""Challenger and champion judged afresh, on the same images, by the same criterion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.contract import stream_seed
from methods.criteria.contract import Criterion, Evidence
from methods.criteria.defects import SyntheticSet, build_synthetic
from methods.criteria.registry import criterion_names, get_criterion
from methods.criteria.resampling import resample
from methods.registry import get_method
from tuner.data import prepare, split
from tuner.data.survey import Depth
from tuner.registry.package import Package, PackagedDetector
from tuner.study.config import SPLIT_STREAM, SYNTHETIC_STREAM, StudyConfig
from tuner.study.home import Home

# Fallback where the study's own criterion cannot compare detectors with scores in unlike units.
COMPARABLE = "synthetic_validation"
REPEATS = 200
# Of images with 8 bits, and of those that use all of 16.
FULL_DEPTH = Depth(65535)
CONFIDENCE = 1.645
BOOTSTRAP_STREAM = 0x9C


@dataclass(frozen=True)
class Rematch:
    """What came of it. Values are as the criterion gives them; `gain` is positive where the
    challenger is better, and counts where it exceeds `noise`."""

    criterion: str
    challenger: float
    champion: float
    gain: float
    noise: float
    noise_from: str
    images: int
    note: str = ""


@dataclass(frozen=True)
class Batch:
    """The challenger's images: held-out normals, unlabelled ones, and those with pasted defects.

    All uint8 `[., 3, H, W]` at the larger of the two detectors' sizes, so that each resizes for
    itself and neither sees images that were enlarged from the other's. Without a champion there is
    nothing to compare, and no defect is pasted. `depth` is the scale that 16-bit samples were taken
    on.
    """

    held_out: np.ndarray
    test: np.ndarray
    synthetic: SyntheticSet | None
    depth: Depth = FULL_DEPTH


def gather(config: StudyConfig, home: Home, challenger: Package, champion: Package | None) -> Batch:
    """The images of the challenger's study, from the cache or from where they lie.

    No defect is pasted that either detector was trained on. Raises ValueError where the images
    are gone or have changed since the challenger was tuned.
    """
    packages = [challenger] if champion is None else [challenger, champion]
    size = tuple(max(sides) for sides in zip(*(p.size for p in packages), strict=True))
    prepared = prepare(
        config.data, config.category, (size[0], size[1]), home.cache, recipe=config.recipe
    )
    if prepared.fingerprint != challenger.fingerprint:
        raise ValueError(
            f"the images of {config.data} have changed since the challenger was tuned (fingerprint "
            f"{prepared.fingerprint[:12]}, was {challenger.fingerprint[:12]}); launch a new study"
        )
    depth = Depth(prepared.ceiling, prepared.floor)
    parts = split(prepared, stream_seed(config.seed, SPLIT_STREAM) % 2**32, config.held_out)
    if champion is None:
        return Batch(parts.held_out, parts.test, None, depth)
    families = (get_method(m).families(values) for p in packages for m, values in p.trained)
    synthetic = build_synthetic(
        torch.from_numpy(parts.held_out),
        torch.from_numpy(parts.test),
        torch.Generator().manual_seed(stream_seed(config.seed, SYNTHETIC_STREAM)),
        exclude=frozenset[str]().union(*families),
        embedded="test_appearance" in _led(config).needs,
        normals=torch.from_numpy(parts.train),
    )
    return Batch(parts.held_out, parts.test, synthetic, depth)


def scores_of(rival: PackagedDetector, batch: Batch) -> list[np.ndarray]:
    """A packaged detector on the images of a batch, in their order: float64 `[V]`, `[M]`, `[Q]`.

    Of the held-out normals alone where there is nothing to compare. One that takes 16-bit samples
    on another scale than the batch gets them as samples again.
    """
    images = [batch.held_out]
    if batch.synthetic is not None:
        images += [batch.test, batch.synthetic.images.numpy()]
    depth = batch.depth
    if depth not in (FULL_DEPTH, rival.package.intake.depth):
        step = (depth.ceiling - depth.floor) / 255
        images = [np.rint(depth.floor + part * step).astype(np.uint16) for part in images]
    return [rival.predict(part.transpose(0, 2, 3, 1))["score"] for part in images]


def rematch(
    batch: Batch,
    challenger: Sequence[np.ndarray],
    champion: Sequence[np.ndarray],
    config: StudyConfig,
    card: Mapping[str, Any],
) -> Rematch:
    """Judge both, of what `scores_of` says of them, by the study's criterion, or by synthetic
    validation where that one cannot.

    A criterion can, if it looks at scores and does not change with their unit. Seed noise is what
    95 of 100 draws of the same images stay below (a one-sided bound from the spread of the paired
    difference, the images drawn again with replacement and their defects with them), or twice the
    spread over training seeds where the study's reliability card has one that is larger.
    """
    assert batch.synthetic is not None
    counts = [len(part) for part in challenger]
    rows = np.stack([np.concatenate(own) for own in (champion, challenger)])
    evidence = _evidence(torch.from_numpy(rows), counts, batch.synthetic)
    judge, note = _comparable(_led(config), evidence)
    before, after = _oriented(judge, evidence).tolist()
    noise, noise_from = _noise(judge, evidence, card, config.seed)
    sign = 1.0 if judge.direction == "maximize" else -1.0
    return Rematch(
        criterion=judge.name,
        challenger=sign * after,
        champion=sign * before,
        gain=after - before,
        noise=noise,
        noise_from=noise_from,
        images=sum(counts),
        note=note,
    )


def _evidence(scores: Tensor, counts: list[int], synthetic: SyntheticSet) -> Evidence:
    """Of scores `[2, V + M + Q]`: held-out, unlabelled and defaced images, in this order."""
    parts = scores.split(counts, 1)
    nothing = torch.empty(0, 0)
    return Evidence(
        test_scores=parts[1],
        held_out_scores=parts[0],
        synthetic_scores=parts[2],
        synthetic_on_test=synthetic.on_test,
        synthetic_base=synthetic.base,
        synthetic_family=synthetic.family,
        families=synthetic.families,
        train_embeddings=nothing,
        corrupted_embeddings=nothing,
        test_embeddings=nothing,
        normal_appearance=_some(synthetic.normal_appearance),
        test_appearance=_some(synthetic.test_appearance),
        synthetic_appearance=_some(synthetic.appearance),
    )


def _some(rows: Tensor) -> Tensor | None:
    return rows if len(rows) else None


def _led(config: StudyConfig) -> Criterion:
    """The criterion that led the study; where that is one of whole studies, the one at rungs."""
    own = config.criterion in criterion_names()
    return get_criterion(config.criterion if own else config.rung_criterion)


def _comparable(wanted: Criterion, evidence: Evidence) -> tuple[Criterion, str]:
    """The criterion to compare by, and what must be said where it is not the study's own."""
    if wanted.sees_scoring and "scale" in wanted.invariances:
        try:
            if bool(torch.isfinite(wanted.evaluate(evidence)).all()):
                return wanted, ""
        except (RuntimeError, ValueError, IndexError):
            pass  # it looks at embeddings, and those of two methods have nothing in common
    note = f"; {wanted.name}, which led the study, cannot compare two detectors"
    return get_criterion(COMPARABLE), note


def _oriented(criterion: Criterion, evidence: Evidence) -> Tensor:
    """One value a detector, larger is better."""
    values = criterion.evaluate(evidence).double()
    return values if criterion.direction == "maximize" else -values


def _noise(
    criterion: Criterion, evidence: Evidence, card: Mapping[str, Any], seed: int
) -> tuple[float, str]:
    generator = torch.Generator().manual_seed(stream_seed(seed, BOOTSTRAP_STREAM))
    draw = partial(resample, evidence, generator)
    values = torch.stack([_oriented(criterion, draw()) for _ in range(REPEATS)])
    gains = values[:, 1] - values[:, 0]
    drawn = CONFIDENCE * float(gains[torch.isfinite(gains)].std())
    spread = _spread(card, criterion.name)
    if spread is not None and 2 * spread > drawn:
        return 2 * spread, "twice the spread over training seeds of the reliability card"
    if not math.isfinite(drawn):
        return math.inf, "too few images to tell"
    return drawn, f"95 % bound over {REPEATS} redraws of the images"


def _spread(card: Mapping[str, Any], criterion: str) -> float | None:
    """The spread over seeds that a reliability card gives for a criterion, if it gives one."""
    spread = card.get("figures", {}).get("seed_spread")
    if isinstance(spread, Mapping):
        spread = spread.get(criterion)
    if isinstance(spread, int | float) and math.isfinite(spread):
        return float(spread)
    return None
