"""What a study and its audit say of their criteria, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from tuner.screen.tables import shown, table_of

DEMO = "demo data: surfaces and defects made by a program, not MVTec AD"
CONTENDERS = {
    "winner": "winner, chosen without labels",
    "single": "the trial that leads it, alone",
    "default": "the defaults",
    "control": "memory of normal features, nothing trained",
    "best": "best trial there was",
}
METRICS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
}


def arms_block(arms: Mapping[str, Any]) -> RenderableType:
    """What the search gained over its control arms, by each criterion; no label is involved."""
    draws, still = len(arms["random"]), arms.get("control")
    drawn = f"over {draws} random draw{'s' * (draws > 1)}"
    rows = [
        {
            "criterion": name,
            "winner": found["winner"],
            "the defaults": found["default"],
            "the defaults with chosen scoring": found.get("default_rescored"),
            "over the defaults": _signed(found["over_default"]),
            **({f"over {still['method']}": _signed(found["over_control"])} if still else {}),
            **({drawn: _signed(found["over_random"])} if draws else {}),
            **({"draws beaten": _percent(found["random_beaten"])} if draws else {}),
        }
        for name, found in arms["criteria"].items()
        if found["winner"] is not None
    ]
    head = Text("gained over the control arms, without labels (more is better)", style="bold")
    return _block(head, table_of(rows)) if rows else head


VERDICT_STYLES = {"trust": "bold green", "doubtful": "bold yellow"}


def reliability_block(card: Mapping[str, Any]) -> RenderableType:
    """How far the choice can be trusted, and why; no label is involved."""
    verdict = card["verdict"]
    head = Text.assemble(
        ("reliability ", "bold"),
        (verdict, VERDICT_STYLES.get(verdict, "bold red")),
        (", judged without labels", "dim"),
    )
    figures = card["figures"]
    said = [
        (figures.get("reference_agreement"), "agreement with the memory {:+.2f}"),
        (figures.get("moved"), "lower quartile of the batch {:+.1f} spreads from held-out normals"),
        (figures["signal"], "trials differ by {:.1f} times the luck of the images"),
        (figures["stays_best"], "the winner stays the best on {:.0%} of resampled images"),
        (
            figures.get("over_default_in_seeds"),
            "ahead of the defaults by {:.1f} times a seed's luck",
        ),
        (figures["agreement"], "agreement of the criteria {:+.2f}"),
        (figures["consensus"], "of the winner with other trials {:+.2f}"),
        (figures["random_beaten_by_others"], "random draws beaten by other criteria {:.0%}"),
    ]
    known = "; ".join(text.format(value) for value, text in said if value is not None)
    return _block(
        head,
        *(Text(f"- {reason}") for reason in card["reasons"]),
        Text(known, style="dim"),
    )


def audit_block(audit: Mapping[str, Any], *, demo: bool) -> RenderableType:
    """The figures that labels give, apart from the search."""
    rows = [
        {
            "contender": CONTENDERS[name],
            "trial": _trial(audit["trials"], name),
            **{title: audit[name].get(key) for key, title in METRICS.items()},
        }
        for name in CONTENDERS
        if name in audit and audit["trials"].get(name) is not None
    ]
    note = " on " + DEMO if demo else ""
    parts: list[RenderableType] = [table_of(rows)]
    mean = audit["trials"]["mean_image_auroc"]
    said = "undefined: one kind of image only" if mean is None else f"{mean:.4f}"
    parts.append(Text(f"mean image AUROC of all trials: {said}", style="dim"))
    counts = audit["counts"]
    if counts["masks_missing"]:
        missing = f"{counts['masks_missing']} of {counts['anomalous']} anomalous images lack a mask"
        parts.append(Text(f"{missing}; pixel figures leave them out", style="yellow"))
    parts += [Text(said, style="yellow") for said in audit.get("warnings", ())]
    head = Text(f"audit, with labels opened after the search{note}", style="magenta")
    return _block(head, *parts)


def criteria_block(audit: Mapping[str, Any]) -> RenderableType:
    """How far each criterion ranked the trials as labels do, and what its pick was worth."""
    rows = [
        {
            "picked by": name,
            "Spearman": None if found["spearman"] is None else f"{found['spearman']:+.2f}",
            "trial": found["pick"],
            **_standing(found),
        }
        for name, found in audit["criteria"].items()
        if found["applicable"]
    ]
    controls = audit["controls"]
    for name, title in (
        ("random_pick", "a random pick"),
        ("random_draws", "random draws, mean"),
        ("defaults", "the defaults"),
    ):
        rows.append(
            {"picked by": title, "Spearman": None, "trial": None, **_standing(controls[name])}
        )
    joint = audit.get("ensemble", {"members": []})
    if joint["members"]:
        title = f"ensemble of the best {len(joint['members'])}"
        title += "" if joint["packaged"] else " (not packaged)"
        rows.append({"picked by": title, "Spearman": None, "trial": None, **_standing(joint)})
    parts: list[RenderableType] = [table_of(rows)]
    absent = [name for name, found in audit["criteria"].items() if not found["applicable"]]
    if absent:
        parts.append(Text(f"not applicable here: {', '.join(absent)}", style="dim"))
    head = Text("criteria against labels, every trial with the scoring chosen for it", "magenta")
    return _block(head, *parts)


def defects_block(audit: Mapping[str, Any]) -> RenderableType | None:
    """Image AUROC by kind of defect; None where there is one kind, or none."""
    if len(audit["defects"]) < 2:
        return None
    rows = [
        {
            "defect": kind,
            "images": found["images"],
            "winner": found["image_auroc"],
            "defaults": found.get("default"),
            "best": found.get("best"),
        }
        for kind, found in audit["defects"].items()
    ]
    return _block(Text("image AUROC by kind of defect", style="magenta"), table_of(rows))


def threshold_line(audit: Mapping[str, Any]) -> Text:
    """What the winner's thresholds flag of good and of defective test images."""
    found = audit["threshold"]
    rules = "; ".join(
        f"{rule} {_percent(found[rule]['anomalous_flagged']) or 'none'} of the defective, "
        f"{_percent(found[rule]['normal_flagged']) or 'none'} of the good"
        for rule in ("quantile", "extreme-value")
    )
    return Text(f"flagged, for {found['wanted']:.3g} of the good wanted: {rules}", style="dim")


def _trial(trials: Mapping[str, Any], name: str) -> Any:
    members = trials.get("members") if name == "winner" else None
    return ", ".join(map(str, members)) if members else trials[name]


def _standing(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "image AUROC": found["image_auroc"],
        "regret": found["regret"],
        "rank": found["normalised_rank"],
    }


def _block(head: RenderableType, *parts: RenderableType) -> RenderableType:
    return Group(head, Padding(Group(*parts), (0, 0, 0, 2)))


def _signed(value: float | None) -> str | None:
    return None if value is None else ("+" if value >= 0 else "") + shown(float(value))


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"
