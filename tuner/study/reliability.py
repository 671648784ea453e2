"""How far the verdict of a study can be trusted, said without labels.

Nothing here knows whether the winner is good. It asks what would have to hold if the criterion were
to be trusted: that trials differ by more than the luck of which images were there, that other
criteria say alike, that the winner beats what nobody searched for, that other trials suspect the
same images, that the unlabelled batch looks like the training images but for its defects, and that
the winner warns of nothing. Each finding weighs on the verdict; the worst of them is the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from methods.criteria.aggregation import oriented, rank_correlations
from methods.criteria.contract import Criterion
from tuner.study.judge import finite
from tuner.study.pool import Pool
from tuner.study.replicates import families, seed_spread, stability

Array = NDArray[Any]
Verdict = Literal["trust", "doubtful", "no better than random"]

TRUST: Verdict = "trust"
DOUBTFUL: Verdict = "doubtful"
RANDOM: Verdict = "no better than random"
_ORDER: tuple[Verdict, ...] = (TRUST, DOUBTFUL, RANDOM)


@dataclass(frozen=True)
class Limits:
    """Every threshold of the card, in one place. Chosen by judgement until a benchmark sets them.

    `noise` and `clear` bound the spread of the leading criterion over trials, in units of what the
    luck of the images alone gives: at 1 there is nothing but luck. `against` and `alike` bound its
    mean rank correlation with the other criteria, `lonely` the winner's with the other trials,
    `beaten` the share of random draws that the winner beats by the other criteria, on average,
    `shift` the distance of the batch from the training images in their standard deviations, `seeds`
    the winner's gain over the defaults in units of what another seed changes, `stable` the mean
    Kendall's tau between trainings that differ in their seed alone.
    """

    fewest_trials: int = 8
    noise: float = 1.25
    clear: float = 2.0
    against: float = -0.3
    alike: float = 0.2
    lonely: float = 0.2
    beaten: float = 0.5
    shift: float = 3.0
    seeds: float = 1.0
    stable: float = 0.2


LIMITS = Limits()


@dataclass(frozen=True)
class Card:
    """A verdict, the reasons for it in words, and the figures behind them."""

    verdict: Verdict
    reasons: tuple[str, ...]
    figures: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Study:
    """What a card is made from.

    `pool` are the judged trials, `winner` the number of one of them. `consensus` is the winner's
    rank correlation with the others (see `Consensus`), `arms` what `arms.compare` found, `shifts`
    what `shift.shifts` did, `warnings` the winner's own, `share` an estimate of the anomalies in
    the batch and `collapse` the share below which the validation loss prefers no augmentation.
    """

    pool: Pool
    winner: int
    leading: Criterion
    consensus: float | None
    arms: Mapping[str, Any]
    shifts: Mapping[str, float]
    warnings: Sequence[str] = ()
    share: float | None = None
    collapse: float | None = None


Finding = tuple[Verdict, str]


def assess(study: Study, limits: Limits = LIMITS) -> Card:
    """The card of a study. Raises ValueError where the winner is not among the judged trials."""
    figures = measure(study)
    found = [each for check in _CHECKS for each in check(study, figures, limits)]
    verdict = max((level for level, _ in found), key=_ORDER.index, default=TRUST)
    reasons = [text for level, text in sorted(found, key=lambda f: -_ORDER.index(f[0]))]
    if not reasons:
        reasons = [
            "trials differ by more than luck, criteria and trials agree with the choice, and "
            "nothing warns"
        ]
    return Card(verdict, tuple(reasons), figures)


def measure(study: Study) -> dict[str, Any]:
    """The figures of a card; None where too little is known."""
    pool, leading = study.pool, study.leading.name
    place = pool.place(study.winner)
    correlations = agreements(pool, leading)
    known = [value for value in correlations.values() if value is not None]
    spread, noise = spread_and_noise(pool, leading)
    beaten = [
        found["random_beaten"]
        for name, found in study.arms["criteria"].items()
        if name != leading and found["random_beaten"] is not None
    ]
    return {
        "criterion": leading,
        "trials": len(pool),
        "finished": int(pool.finished.sum()),
        "spread": spread,
        "noise": noise,
        "signal": spread / noise if spread is not None and noise else None,
        "stays_best": stays_best(pool, place, study.leading),
        "agreement": float(np.mean(known)) if known else None,
        "agreements": correlations,
        "consensus": study.consensus,
        "over_default": study.arms["criteria"].get(leading, {}).get("over_default"),
        "over_random": study.arms["criteria"].get(leading, {}).get("over_random"),
        "random_beaten_by_others": float(np.mean(beaten)) if beaten else None,
        **_between_seeds(pool, place, study.arms["criteria"].get(leading, {}), leading),
        "shift": dict(study.shifts),
        "warnings": len(study.warnings),
        "anomaly_share": study.share,
        "collapse_below": study.collapse,
    }


def _between_seeds(
    pool: Pool, winner: int, gained: Mapping[str, Any], leading: str
) -> dict[str, Any]:
    """What replicates say: `seed_spread` of each criterion, the winner's gains over the control
    arms in units of it, its criterion under every seed, and the mean stability of the ranking."""
    together = families(pool)
    spread = seed_spread(pool)
    stable = stability(pool)[[places[0] for places in together]]
    own = next((places for places in together if winner in places), [])
    unit = spread.get(leading)

    def in_spreads(name: str) -> float | None:
        gain = gained.get(name)
        return None if gain is None or not unit else gain / unit

    return {
        "seed_spread": spread,
        "over_default_in_seeds": in_spreads("over_default"),
        "over_random_in_seeds": in_spreads("over_random"),
        "winner_by_seed": [finite(float(pool.criteria[leading][place])) for place in own],
        "seed_stability": finite(float(np.nanmean(stable))) if np.isfinite(stable).any() else None,
    }


def agreements(pool: Pool, leading: str) -> dict[str, float | None]:
    """Rank correlation of every other criterion with the leading one, over all trials."""
    names = [leading, *(name for name in pool.criteria if name != leading)]
    if len(pool) == 0 or leading not in pool.criteria:
        return dict.fromkeys(names[1:])
    values = torch.from_numpy(np.stack([pool.criteria[name] for name in names]))
    turned = oriented(values, [pool.declared[name].direction for name in names])
    row = rank_correlations(turned)[0].tolist()
    return {name: finite(value) for name, value in zip(names[1:], row[1:], strict=True)}


def resampled(pool: Pool) -> tuple[Array, Array]:
    """Places `[T']` of the trials whose leading criterion was resampled, and the values `[T', B]`.

    Only candidates: a trial that was stopped was judged on less training. Samples of which one
    trial knows no value are left out for all.
    """
    rows = {
        place: [np.nan if v is None else v for v in entry.last.get("resampled", ())]
        for place, entry in enumerate(pool.entries)
        if pool.candidates[place] and entry.last.get("resampled")
    }
    length = max(map(len, rows.values()), default=0)
    rows = {place: values for place, values in rows.items() if len(values) == length}
    if len(rows) < 2:
        return np.empty(0, dtype=int), np.empty((0, 0))
    values = np.array(list(rows.values()))
    values = values[:, np.isfinite(values).all(0)]
    return np.array(list(rows)), values


def spread_and_noise(pool: Pool, leading: str) -> tuple[float | None, float | None]:
    """Standard deviation of the leading criterion over trials, and what luck alone would give.

    The latter is the mean standard deviation over bootstrap samples of images of what a trial has
    more than the mean of all trials on the same sample.
    """
    places, values = resampled(pool)
    if len(places) < 2 or values.shape[1] < 2:
        return None, None
    own = pool.criteria[leading][places]
    alone = values - values.mean(0)
    noise = np.sqrt(np.mean(alone.var(1, ddof=1)))
    return finite(float(np.std(own, ddof=1))), finite(float(noise))


def stays_best(pool: Pool, winner: int, leading: Criterion) -> float | None:
    """Share of the bootstrap samples on which the trial at that place is the best candidate."""
    places, values = resampled(pool)
    if winner not in places or values.shape[1] == 0:
        return None
    order = values.argmax(0) if leading.direction == "maximize" else values.argmin(0)
    return float((places[order] == winner).mean())


def _enough(study: Study, figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    if figures["trials"] >= limits.fewest_trials:
        return []
    text = f"only {figures['trials']} trials were judged, and a card needs {limits.fewest_trials}"
    return [(DOUBTFUL, text)]


def _signal(study: Study, figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    signal, name = figures["signal"], figures["criterion"]
    if signal is None or signal >= limits.clear:
        return []
    text = (
        f"finished trials differ in {name} by {signal:.1f} times what the luck of the images gives"
    )
    if signal >= limits.noise:
        return [(DOUBTFUL, text)]
    # Which of the finished trials wins is luck then; that one of them does need not be.
    if _ahead(figures, limits):
        beaten = figures["random_beaten_by_others"]
        kept = f"which of them wins is luck, but by other criteria it beats {beaten:.0%} of the"
        return [(DOUBTFUL, f"{text}: {kept} random draws")]
    return [(RANDOM, text)]


def _ahead(figures: Mapping[str, Any], limits: Limits) -> bool:
    """Whether the winner is ahead of both control arms."""
    gained, beaten = figures["over_default"], figures["random_beaten_by_others"]
    return gained is not None and gained > 0 and beaten is not None and beaten >= limits.beaten


def _agreement(study: Study, figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    value = figures["agreement"]
    if value is None or value >= limits.alike:
        return []
    level = RANDOM if value < limits.against else DOUBTFUL
    said = "contradict" if level == RANDOM else "hardly agree with"
    others = sum(v is not None for v in figures["agreements"].values())
    text = (
        f"{others} other criteria {said} {figures['criterion']} (mean rank correlation {value:.2f})"
    )
    return [(level, text)]


def _arms(study: Study, figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    found = []
    gained, beaten = figures["over_default"], figures["random_beaten_by_others"]
    if gained is not None and gained <= 0:
        name = figures["criterion"]
        found.append((DOUBTFUL, f"by {name} the winner is no better than the paper's defaults"))
    if beaten is not None and beaten < limits.beaten:
        text = f"by the other criteria the winner beats {beaten:.0%} of the random draws"
        found.append((DOUBTFUL, text))
    return found


def _seeds(study: Study, figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    found, name = [], figures["criterion"]
    ahead, stable = figures["over_default_in_seeds"], figures["seed_stability"]
    if ahead is not None and 0 < ahead < limits.seeds:
        text = (
            f"another seed alone changes {name} by {figures['seed_spread'][name]:.2g}, and the "
            f"winner is ahead of the paper's defaults by {ahead:.1f} times that"
        )
        found.append((DOUBTFUL, text))
    if stable is not None and stable < limits.stable:
        text = "trained with another seed, the best trials rank the images otherwise"
        found.append((DOUBTFUL, f"{text} (Kendall's tau {stable:.2f})"))
    return found


def _consensus(study: Study, figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    value = figures["consensus"]
    if value is None or value >= limits.lonely:
        return []
    said = "ranks the images against" if value < -limits.lonely else "has little in common with"
    return [(DOUBTFUL, f"the winner {said} the other trials (rank correlation {value:.2f})")]


def _shift(study: Study, figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    return [
        (
            DOUBTFUL,
            f"the unlabelled batch as a whole differs from the training images in {name}, by "
            f"{abs(value):.1f} of their standard deviations",
        )
        for name, value in figures["shift"].items()
        if abs(value) > limits.shift
    ]


def _warned(study: Study, figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    return [(DOUBTFUL, f"the winner warns: {text}") for text in study.warnings]


def _collapse(study: Study, figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    share, below = figures["anomaly_share"], figures["collapse_below"]
    if figures["criterion"] != "validation_loss" or share is None or below is None:
        return []
    if share >= below:
        return []
    return [
        (
            DOUBTFUL,
            f"about {share:.0%} of the batch are anomalous, and below {below:.0%} the validation "
            "loss prefers an augmentation that does nothing",
        )
    ]


_CHECKS: tuple[Callable[[Study, Mapping[str, Any], Limits], list[Finding]], ...] = (
    _enough, _signal, _agreement, _arms, _seeds, _consensus, _shift, _warned, _collapse,
)  # fmt: skip
