"""What the report tells, as plain values; nothing here knows of HTML or of engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One number with what it is called and, in a few words, what it means."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """An image as a data address, with the text that stands for it."""

    address: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing as SVG; `text` says what is to be seen on it."""

    title: str
    svg: str
    text: str


@dataclass(frozen=True)
class HyperparameterRow:
    """`changed` where the winner's value is not the default's; `learned` where it was found by
    gradient."""

    name: str
    symbol: str
    help: str
    unit: str
    value: str
    default: str
    source: str
    changed: bool
    learned: bool = False


@dataclass(frozen=True)
class CriterionRow:
    """A criterion under the winner, under the defaults and at its best random draw; None where it
    does not apply, or where there is no such trial."""

    name: str
    title: str
    direction: str
    source: str
    winner: float | None
    default: float | None
    random: float | None


@dataclass(frozen=True)
class TrialRow:
    """`value` is the leading criterion at the last rung, `rungs` at every rung; `auroc` is known
    after an audit only."""

    number: int
    kind: str
    method: str
    state: str
    rung: int
    value: float | None
    rungs: Sequence[float | None]
    seconds: float | None
    warnings: Sequence[str] = ()
    reason: str = ""
    auroc: float | None = None


@dataclass(frozen=True)
class Suspect:
    """An unlabelled image as the winner sees it: pictures of itself, of its reconstruction and of
    its heat map, as far as the method has them."""

    rank: int
    score: float
    pictures: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True)
class Audited:
    """What labels said afterwards: `contenders` maps a name to its figures, in the order of
    `metrics`; `defects` gives for each kind its number of images and image AUROC."""

    metrics: Sequence[str]
    contenders: Mapping[str, Sequence[float | None]]
    defects: Mapping[str, tuple[int, float | None]]
    notes: Sequence[str]
    charts: Sequence[Chart]
    misses: Sequence[Suspect]


@dataclass(frozen=True)
class Story:
    """Everything the page shows.

    `criterion` names the leading one; `gallery` holds rows of pictures by their caption.
    `test_scores` and `held_out_scores` are the winner's, for the reader to try another threshold.
    """

    study: str
    category: str
    demo: bool
    verdict: str
    facts: Sequence[Figure]
    reliability: str
    reasons: Sequence[str]
    criterion: str
    hyperparameters: Sequence[HyperparameterRow]
    criteria: Sequence[CriterionRow]
    trials: Sequence[TrialRow]
    charts: Sequence[Chart]
    gallery: Mapping[str, Sequence[Picture]]
    most: Sequence[Suspect]
    least: Sequence[Suspect]
    threshold: float
    false_positive_rate: float
    test_scores: Sequence[float]
    held_out_scores: Sequence[float]
    audit: Audited | None
    made: str
