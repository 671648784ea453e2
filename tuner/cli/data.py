"""`tuner data check`: what was recognised in a location and what is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tuner.data import CategoryReport, CheckReport

app = typer.Typer(help="Look at data before tuning on them.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Look at data before tuning on them."""


@app.command()
def check(
    path: Annotated[str, typer.Argument(help="demo, a folder, or s3://bucket/prefix")],
    category: Annotated[str | None, typer.Option(help="only this one; all by default")] = None,
    size: Annotated[
        str | None, typer.Option(help="of a launch: 96 or 96x128 (height x width)")
    ] = None,
    held_out: Annotated[
        float, typer.Option(help="of a launch: share of the normals kept from training")
    ] = 0.2,
    false_positive_rate: Annotated[
        float, typer.Option(help="of a launch: share of normal images that may be flagged")
    ] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Say what was recognised in PATH, what is wrong with it (exit code 1 if a study could not
    start), and what a launch would warn of."""
    from tuner.addresses import printable
    from tuner.cli.parsing import parse_size
    from tuner.data.checking import Asked, check

    try:
        asked = Asked(parse_size(size), held_out, false_positive_rate)
        report = check(path, category, asked=asked)
    except ValueError as error:
        if as_json:
            typer.echo(json.dumps({"ok": False, "error": str(error)}))
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(report.as_dict()) if as_json else printable(_in_words(report)))
    if not report.ok:
        raise typer.Exit(1)


def _in_words(report: CheckReport) -> str:
    kind = {"demo": "demo data", "mvtec": "MVTec AD", "visa": "VisA", "plain": "plain"}
    count = len(report.categories)
    lines = [
        f"{report.location}: layout {kind[report.layout]}, "
        f"{count} {'category' if count == 1 else 'categories'}",
        *(f"note: {warning}" for warning in report.warnings),
    ]
    for category in report.categories:
        lines += _category_in_words(category)
    verdict = "a study can start" if report.ok else "a study cannot start on what is marked error"
    return "\n".join((*lines, verdict))


def _category_in_words(category: CategoryReport) -> list[str]:
    sizes = ", ".join(f"{count} of {size}" for size, count in category.sizes.items())
    masks = f", {category.masks} masks (not opened)" if category.masks else ""
    unlabelled = f"{category.test} unlabelled" if category.test else "no unlabelled images yet"
    line = f"  {category.category}: {category.train} normal, {unlabelled}{masks}"
    return [
        line + (f"; {sizes}" if sizes else ""),
        *([f"    {category.depth}"] if category.depth else []),
        *(f"    error: {problem}" for problem in category.problems),
        *(f"    warning: {warning}" for warning in category.warnings),
    ]
