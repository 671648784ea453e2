"""What the report tells, as plain values; nothing here knows of HTML or of engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


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
    wide: bool = False


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
    its heat map, as far as the method has them. `name` is its file's, empty where that is not
    known; `ratio` its score in units of the threshold, None where there are none."""

    rank: int
    score: float
    pictures: Sequence[Picture]
    note: str = ""
    name: str = ""
    ratio: float | None = None


@dataclass(frozen=True)
class Confusion:
    """How many images a contender called rightly and wrongly at its threshold."""

    contender: str
    caught: int
    missed: int
    false_alarms: int
    passed: int


@dataclass(frozen=True)
class DefectRow:
    """A kind of defect: its images, how many of them the winner and the defaults caught, and image
    AUROC by contender. None where it is not known."""

    name: str
    images: int
    caught: int | None
    default_caught: int | None
    auroc: float | None
    default: float | None
    best: float | None


@dataclass(frozen=True)
class Audited:
    """What labels said afterwards: `contenders` maps a name to its figures, in the order of
    `metrics`; `truth` says of each test score whether its image is anomalous."""

    metrics: Sequence[str]
    contenders: Mapping[str, Sequence[float | None]]
    defects: Sequence[DefectRow]
    notes: Sequence[str]
    charts: Sequence[Chart]
    misses: Sequence[Suspect]
    confusions: Sequence[Confusion] = ()
    truth: Sequence[bool] = ()


@dataclass(frozen=True)
class Story:
    """Everything the page shows.

    `headline` is the verdict in a sentence, `expected` what to expect of the threshold, `tone` the
    colour of both: good, doubt, bad, or empty. `criterion` names the leading one; `gallery` holds
    rows of pictures by their caption. `test_scores`, `held_out_scores` and `pasted_scores` (of
    good parts with a pasted defect, by kind) are the winner's, for the reader to try another
    threshold; `names` are those of the flagged images that have no pictures, with their scores.
    `commands` are what to do next, each with what it does.
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
    headline: str = ""
    tone: str = ""
    expected: Sequence[str] = ()
    pasted_scores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    names: Sequence[tuple[str, float]] = ()
    card: Sequence[Figure] = ()
    commands: Sequence[tuple[str, str]] = ()
