"""The last screen of a study: what was found, how far to trust it, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from methods.registry import get_method
from tuner.screen.tables import shown, table_of
from tuner.screen.verdicts import VERDICT_STYLES
from tuner.study.plan import duration
from tuner.study.space import same

MOST_FLAGGED = 0.5
"""A batch of which more is flagged is hardly one of mostly good parts."""

# What a person would call the kinds of defects that `methods.criteria.defects` pastes.
PASTED = {"perlin": "blotch", "warp": "distortion"}

_FEW_TRIALS = 8
# Columns of the subjects, with the space after them.
_SUBJECTS = 9


def ending(summary: Mapping[str, Any], width: int = 100) -> Table:
    """A dozen lines of so many columns: a table of a subject and what there is to say of it."""
    rows = Table(box=None, show_header=False, pad_edge=False)
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for subject, said in _lines(summary, width - _SUBJECTS):
        rows.add_row(subject, said)
    return rows


def _lines(summary: Mapping[str, Any], width: int) -> Iterator[tuple[str, Text | str]]:
    study, card = summary["study"], summary["reliability"]
    yield "model", _model(summary)
    if summary.get("unlabelled"):
        yield "flagged", _flagged(summary)
    if summary.get("caught"):
        yield "caught", _caught(summary["caught"])
    verdict = card["verdict"]
    trust = Text.assemble((verdict, VERDICT_STYLES.get(verdict, "bold red")))
    yield "trust", trust.append(f": {card['reasons'][0]}" if card["reasons"] else "")
    yield "advice", advice(summary)
    yield "settings", differing(summary["winner"], width)
    if summary["audit"] is not None:
        rule = summary.get("threshold", {}).get("rule", "quantile")
        yield "labels", labelled(summary["audit"], rule)
    yield "report", str(summary["report"])
    model = summary["model"]
    called = f"{summary['category']}@{model['alias']}" if model["alias"] else f"{study}"
    yield "next", f"tuner report {study} --open"
    yield "", f"tuner promote {summary['category']}"
    yield "", f"tuner predict {called} IMAGES"


def _model(summary: Mapping[str, Any]) -> Text:
    model, winner = summary["model"], summary["winner"]
    text = Text(f"{model['name']} version {model['version']}", "bold")
    text.append(f" ({model['alias']})" if model["alias"] else "", "not bold")
    if winner["members"]:
        numbers = ", ".join(str(member["trial"]) for member in winner["members"])
        chosen = f"ensemble of trials {numbers}"
    else:
        chosen = f"{winner['method']}, trial {winner['trial']}"
    total = sum(summary["trials"].values())
    return text.append(f": {chosen} of {total}, {duration(summary['seconds'])}", "not bold")


def _flagged(summary: Mapping[str, Any]) -> Text:
    batch, threshold = summary["unlabelled"], summary["threshold"]
    text = Text(f"{batch['flagged']} of {batch['images']}", "bold")
    wanted, promised = threshold["false_positive_rate"], threshold["achievable_rate"]
    rate = f"for {_percent(wanted)} false alarms"
    if promised > wanted and threshold["rule"] == "extreme-value":
        rate += ", extrapolated"
    elif promised > wanted:
        rate = f"{threshold['count']} held-out normals promise {_percent(promised)} false alarms"
    return text.append(
        f" unlabelled images above threshold {threshold['value']:.4g} ({rate})", "not bold"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _caught(caught: Mapping[str, float]) -> str:
    kinds = sorted(caught.items(), key=lambda pair: -pair[1])
    shares = ", ".join(f"{PASTED.get(kind, kind)} {share:.0%}" for kind, share in kinds)
    return f"pasted {shares}"


def advice(summary: Mapping[str, Any]) -> str:
    """What to do about a verdict: the cheapest step that may settle it."""
    card, study, batch = summary["reliability"], summary["study"], summary.get("unlabelled")
    steps = []
    trials = sum(summary["trials"].values())
    if batch and not batch["flagged"]:
        steps.append(
            "nothing is flagged: if there are defects, allow more false alarms "
            "(--false-positive-rate)"
        )
    elif batch and batch["flagged"] > MOST_FLAGGED * batch["images"]:
        steps.append(
            "most of the batch is flagged: check that it was taken as the normal images were"
        )
    if trials < _FEW_TRIALS:
        steps.append(f"try more trials: tuner resume {study} --budget {3 * _FEW_TRIALS}")
    elif (rival := _as_good(summary)) is not None:
        steps.append(rival)
    if not steps and card["verdict"] != "trust":
        steps.append("compare the first pictures of the report with parts that you know")
    return "; ".join(steps) or "look at the first pictures of the report, then promote it"


def _as_good(summary: Mapping[str, Any]) -> str | None:
    """What the winner is not ahead of, by the criterion that chose it."""
    arms, name = summary["arms"], summary["winner"]["selected_by"]
    gained, control = arms["criteria"].get(name, {}), arms.get("control")
    if control and (ahead := gained.get("over_control")) is not None and ahead <= 0:
        method = control["method"]
        return f"{method}, which trains nothing, does as well: try --method {method}"
    if (ahead := gained.get("over_default")) is not None and ahead <= 0:
        return "the defaults do as well: nothing was gained by the search"
    return None


def differing(winner: Mapping[str, Any], width: int) -> str:
    """The settings that differ from the defaults, as many as fit on a line; the others are
    counted."""
    defaults = _defaults(winner)
    parts = [
        f"{name} {shown(value)} (not {shown(defaults[name])})"
        for name, value in winner["hyperparameters"].items()
        if name in defaults and not same(value, defaults[name])
    ]
    if not parts:
        return "all at their defaults"
    text = parts[0]
    for place, part in enumerate(parts[1:], 1):
        more = f" and {len(parts) - place} more: -v"
        rest = 0 if place == len(parts) - 1 else len(more)
        if len(text) + len(part) + 2 + rest > width:
            return text + more
        text += f", {part}"
    return text


def labelled(audit: Mapping[str, Any], rule: str) -> str:
    """What the audit found, in a line."""
    found, default = audit["winner"]["image_auroc"], audit.get("default", {}).get("image_auroc")
    said = "image AUROC " + ("undefined" if found is None else f"{found:.3f}")
    said += "" if default is None else f" (the defaults {default:.3f})"
    at = audit["threshold"][rule]
    defects, good = at["anomalous_flagged"], at["normal_flagged"]
    parts = [] if defects is None else [f"{defects:.0%} of defects"]
    parts += [] if good is None else [f"{good:.0%} of good"]
    return said + (f"; {', '.join(parts)} flagged" if parts else "")


def settings_table(winner: Mapping[str, Any]) -> Table:
    """What was searched, scoring, and what differs from its default."""
    declared = {p.name: p for p in get_method(winner["method"]).hyperparameters}
    defaults, rows = _defaults(winner), []
    for name, value in winner["hyperparameters"].items():
        parameter = declared[name]
        default = defaults.get(name, parameter.default)
        searched = name in winner["drawn"] or parameter.tier == "scoring"
        if not searched and same(value, default):
            continue
        rows.append(
            {
                "hyperparameter": name + (f" ({parameter.symbol})" if parameter.symbol else ""),
                "winner": shown(value),
                "default": shown(default),
                "meaning": parameter.help,
            }
        )
    return table_of(rows)


def _defaults(winner: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of the trial that is called the defaults; a summary of an earlier version has none."""
    declared = {p.name: p.default for p in get_method(winner["method"]).hyperparameters}
    found: Mapping[str, Any] = winner.get("defaults", declared)
    return found
