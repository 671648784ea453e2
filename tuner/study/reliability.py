"""How far the choice of a study can be trusted, said without labels.

Nothing here knows whether the winner is good. What is asked are the few things that told good picks
from bad ones where labels are known (`benchmarks/choice.py`): whether something that no trial
trains, a memory of pretrained features, suspects the images that the winner suspects; whether the
bulk of the unlabelled batch, which should be good parts, looks to the winner as held-out normals
do; whether the batch spreads farther than these do; and whether the winner warns of anything. Each
finding says what to do. The worst of them is the verdict; without that memory it is a doubt.
Other figures are told, and not judged by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """Every threshold of the card. Set on the design tasks of `benchmarks/choice.py`.

    `fewest_trials` are judged; `agreed` is the least rank correlation of the winner with the
    memory, `unrelated` that at which nothing speaks for the winner; `moved` how far the lower
    quartile of the batch's scores may lie above that of held-out normals, in standard deviations of
    these; `spread` the least variance of the batch's scores in units of theirs.
    """

    fewest_trials: int = 4
    agreed: float = 0.6
    unrelated: float = 0.2
    moved: float = 2.5
    spread: float = 2.0


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
    `reference` names the method whose memory the winner is compared with, empty for none, `agreed`
    its rank correlation with that memory. `batch` and `held_out` are the winner's scores of the
    unlabelled images and of held-out normals.
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
    reference: str = ""
    agreed: float | None = None
    batch: Array | None = None
    held_out: Array | None = None


Finding = tuple[Verdict, str]


def assess(study: Study, limits: Limits = LIMITS) -> Card:
    """The card of a study. Raises ValueError where the winner is not among the judged trials."""
    figures = measure(study)
    found = [
        *_enough(figures, limits),
        *judged(figures, limits),
        *((DOUBTFUL, f"the winner warns: {text}") for text in study.warnings),
        *_collapse(figures),
    ]
    verdict = max((level for level, _ in found), key=_ORDER.index, default=TRUST)
    reasons = [text for level, text in sorted(found, key=lambda f: -_ORDER.index(f[0]))]
    if not reasons:
        reasons = [
            f"{study.reference}, which trains nothing, suspects the same images, and most of the "
            "batch looks as held-out normals do"
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
        "reference": study.reference or None,
        "reference_agreement": study.agreed,
        **bulk(study.batch, study.held_out),
    }


def bulk(batch: Array | None, held_out: Array | None) -> dict[str, float | None]:
    """How far the bulk of a batch's scores lies above those of held-out normals (`moved`), and how
    much they vary (`score_spread`), in units of these; None where that is not known."""
    nothing: dict[str, float | None] = {"moved": None, "score_spread": None}
    if batch is None or held_out is None or min(len(batch), len(held_out)) < 2:
        return nothing
    spread = float(np.std(held_out))
    if not spread > 0:
        return nothing
    low = float(np.quantile(batch, 0.25) - np.quantile(held_out, 0.25))
    ratio = float(np.var(batch) / spread**2)
    return {"moved": finite(low / spread), "score_spread": finite(ratio)}


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


def _enough(figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    if figures["trials"] >= limits.fewest_trials:
        return []
    text = f"only {figures['trials']} trials were judged, and a card needs {limits.fewest_trials}"
    return [(DOUBTFUL, text)]


def judged(figures: Mapping[str, Any], limits: Limits = LIMITS) -> list[Finding]:
    """What the winner's scores say against it: from `reference` and `reference_agreement`, from
    what `bulk` found, and from `shift`, which only names what moved."""
    return [each for check in (_reference, _moved, _spread) for each in check(figures, limits)]


def _reference(figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    reference, value = figures["reference"], figures["reference_agreement"]
    if not reference or value is None:
        text = (
            "no memory of pretrained features stands beside these trials, so nothing independent "
            "speaks for the choice; try --method feature-fae, or compare with --method patch-memory"
        )
        return [(DOUBTFUL, text)]
    if value >= limits.agreed:
        return []
    unrelated = value < limits.unrelated
    said = "suspects other images" if unrelated else "agrees with the winner in part"
    text = (
        f"{reference}, which trains nothing, {said} (rank correlation {value:.2f}); look at "
        "the images that both rank highest, or try a larger --size"
    )
    return [(RANDOM if unrelated else DOUBTFUL, text)]


def _moved(figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    value = figures["moved"]
    if value is None or value <= limits.moved:
        return []
    parts = {name: abs(far) for name, far in figures["shift"].items()}
    most = max(parts, key=lambda name: parts[name], default="")
    seen = f", most of all in {most}" if most and parts[most] > 1 else ""
    text = (
        f"even the most usual quarter of the batch scores {value:.1f} standard deviations above "
        f"held-out normals{seen}: too many good parts will be flagged; add normal images that were "
        "taken as the batch was"
    )
    return [(DOUBTFUL, text)]


def _spread(figures: Mapping[str, Any], limits: Limits) -> list[Finding]:
    value = figures["score_spread"]
    if value is None or value >= limits.spread:
        return []
    text = (
        f"the batch's scores vary {value:.1f} times as much as those of held-out normals: either "
        "there are hardly any defects in it, or the winner does not see them; look at its highest "
        "images, or try a larger --size"
    )
    return [(DOUBTFUL, text)]


def _collapse(figures: Mapping[str, Any]) -> list[Finding]:
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
