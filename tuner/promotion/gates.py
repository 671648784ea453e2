"""What a version must show before it becomes champion. No gate but `require` needs a label."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.promotion.rematch import Rematch
from tuner.registry.export import Export, Parity
from tuner.registry.package import Package
from tuner.registry.threshold import quantile_threshold

GATE_TAG = "tuner.gate."
RANDOM = "no better than random"

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Gate:
    """One condition: whether it holds, the figure it was judged by, and why, in a sentence."""

    name: str
    passed: bool
    figure: float | str | None
    reason: str

    def as_tag(self) -> tuple[str, str]:
        """A tag for the version."""
        content = {"passed": self.passed, "figure": self.figure, "reason": self.reason}
        return GATE_TAG + self.name, json.dumps(content, ensure_ascii=False)


def same_data(challenger: Package, champion: Package | None, accept: bool) -> Gate:
    """Both were tuned on the same images, or another set is accepted explicitly."""
    figure = challenger.fingerprint[:12]
    if champion is None:
        return Gate("data", True, figure, "there is no champion to compare with")
    if challenger.fingerprint == champion.fingerprint:
        return Gate("data", True, figure, "the champion was tuned on the same images")
    said = f"the champion was tuned on other images (fingerprint {champion.fingerprint[:12]})"
    if accept:
        return Gate("data", True, figure, said + ", which was accepted")
    return Gate("data", False, figure, said + "; if that is meant, give --accept-data")


def better(match: Rematch | None, champion: Package | None, why_not: str) -> Gate:
    """The criterion is better than the champion's by more than seed noise."""
    if champion is None:
        return Gate("criterion", True, None, "there is no champion to beat")
    if match is None:
        return Gate("criterion", False, None, why_not)
    gain = match.gain
    said = (
        f"{match.criterion} {match.challenger:.4g} against the champion's {match.champion:.4g} on "
        f"the same {match.images} images: "
        f"{'better' if gain > 0 else 'worse'} by {abs(gain):.4g}, seed noise {match.noise:.4g} "
        f"({match.noise_from})"
    )
    return Gate("criterion", gain > match.noise, gain, said + match.note)


def false_positives(
    challenger: Package, held_out: NDArray[np.float64] | None, why_not: str
) -> Gate:
    """Scored afresh, not more of the held-out normals are flagged than was asked for."""
    name, bound = "false_positives", challenger.false_positive_rate
    if held_out is None:
        return Gate(name, False, None, why_not)
    flagged, count = int((held_out > challenger.threshold).sum()), len(held_out)
    caution = quantile_threshold(challenger.held_out_scores, bound).caution()
    said = f"{flagged} of {count} held-out normals are flagged, at most {bound:.3g} of them may be"
    return Gate(
        name, flagged <= bound * count, flagged / count, said + (f"; {caution}" if caution else "")
    )


def export_parity(export: Export | None, found: Parity | None, why_not: str) -> Gate:
    """The exported graph says what the packaged detector says."""
    name = "export"
    if export is None:
        return Gate(name, True, "none", "no export was asked for")
    if not export.done:
        return Gate(name, not export.possible, "none", export.reason)
    if found is None:
        return Gate(name, False, None, why_not)
    return Gate(name, found.holds, found.difference, str(found))


def reliability(card: Mapping[str, Any] | str | None, demanded: bool) -> Gate:
    """The study's reliability card does not say "no better than random".

    A study without a card passes, which is said, unless the card is demanded.
    """
    verdict = card.get("verdict") if isinstance(card, Mapping) else card
    if not isinstance(verdict, str) or not verdict:
        said = "the study has no reliability card"
        cure = "; launch it again with this version of tuner" if demanded else ""
        return Gate("reliability", not demanded, "missing", said + cure)
    reason = card.get("reason", card.get("reasons", "")) if isinstance(card, Mapping) else ""
    if isinstance(reason, list | tuple):
        reason = "; ".join(map(str, reason))
    said = f"the reliability card says: {verdict}" + (f" ({reason})" if reason else "")
    return Gate("reliability", verdict.strip().lower() != RANDOM, verdict, said)


def required(text: str, audit: Mapping[str, Any] | None, trial: str, study: str) -> Gate:
    """An audited figure of the winner, such as `image_auroc>=0.95`.

    Raises ValueError for a text that is not of that form.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(>=|<=|>|<)\s*([-+.\deE]+)\s*", text)
    try:
        assert match is not None
        metric, sign, bound = match[1], match[2], float(match[3])
    except (AssertionError, ValueError):
        raise ValueError(
            f"--require is {text!r}, but must be a figure of the audit and a bound, such as "
            '"image_auroc>=0.95"'
        ) from None
    name = f"require.{metric}"
    if audit is None:
        said = f"there is no audit of {study} here; make one, where it ran, by: tuner audit {study}"
        return Gate(name, False, None, said)
    audited = audit.get("trials", {}).get("winner")
    if str(audited) != trial:
        said = f"the audit of {study} is of trial {audited}, but this version is trial {trial}"
        return Gate(name, False, None, f"{said}; audit it again")
    value = audit.get("winner", {}).get(metric)
    if not isinstance(value, int | float):
        known = ", ".join(k for k, v in audit.get("winner", {}).items() if v is not None)
        return Gate(name, False, None, f"the audit has no figure {metric}; it has: {known}")
    return Gate(name, _COMPARE[sign](value, bound), value, f"audited {metric} {value:.4g}, {text}")
