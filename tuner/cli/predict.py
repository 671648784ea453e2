"""`tuner predict`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from tuner.addresses import printable
from tuner.cli.errors import PROBLEM, explained
from tuner.cli.output import only_json, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuner.prediction.stream import Unreadable, Verdict
    from tuner.prediction.writing import Written

_NAMED = 5


def predict(
    model: Annotated[
        str,
        typer.Argument(help="CATEGORY@champion, CATEGORY@challenger, CATEGORY/3, or a study."),
    ],
    images: Annotated[
        list[str], typer.Argument(help="Files, folders, globs in quotes, s3://bucket/prefix.")
    ],
    out: Annotated[
        str, typer.Option(help="Folder for the table and the overlays.")
    ] = "predictions",
    table: Annotated[str, typer.Option("--format", help="csv or jsonl (JSON lines).")] = "csv",
    overlays: Annotated[bool, typer.Option(help="Draw heat maps over the images.")] = True,
    batch: Annotated[int, typer.Option(help="Images that go through the network at once.")] = 32,
    device: Annotated[
        str, typer.Option(help="auto (GPU where there is one), cpu or cuda.")
    ] = "auto",
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Only measure speed; write nothing.")
    ] = False,
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow's registry; TUNER_TRACKING_URI if missing.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
) -> None:
    """Judge images by a packaged model; writes a table, heat maps over the images, and a page.

    Streams: ten thousand images need no more memory than a hundred. An image that cannot be read
    is reported and skipped, and the exit code is then 1.
    """
    with explained(), only_json(as_json):
        from pathlib import Path

        from tuner import api
        from tuner.prediction.places import find
        from tuner.prediction.stream import Clock, judge_all
        from tuner.prediction.writing import count_all, write_all
        from tuner.registry.locate import locate
        from tuner.registry.package import load_package

        home = api.home_at(None)
        located = locate(model, home, api.registry_at(home, tracking_uri))
        packaged = load_package(located.folder, device)
        places, clock = find(images), Clock()
        stream = _shown(judge_all(packaged, places, batch=batch, clock=clock), len(places))
        if benchmark:
            written = count_all(stream)
        else:
            kind = cast('Literal["csv", "jsonl"]', table)
            named = (located.name, located.version)
            written = write_all(stream, Path(out), kind, overlays, named)
        skipped = written.unreadable
        for bad in skipped[:_NAMED]:
            typer.secho(f"skipped {bad.name}: {bad.reason}", err=True, fg="yellow")
        if len(skipped) > _NAMED:
            typer.secho(f"skipped {len(skipped) - _NAMED} more", err=True, fg="yellow")
    if as_json:
        print_json({"model": model, **written.as_dict(), "speed": clock.as_dict()})
    else:
        typer.echo(f"{located.what} judges {written.images} images")
        if written.table is not None:
            typer.echo(f"table     {written.table}")
        if written.overlays is not None:
            typer.echo(f"overlays  {written.overlays}")
        if written.index is not None:
            typer.echo(f"page      {written.index}")
        if benchmark:
            _speed(clock.as_dict(), str(packaged.device))
        typer.echo(_summed_up(written))
    if skipped:
        raise typer.Exit(PROBLEM)


def _summed_up(written: Written) -> str:
    """How many images are anomalous, at which threshold, and which are the worst."""
    said = f"{written.anomalous} of {written.images} images are anomalous"
    if written.threshold is not None:
        said += f"; threshold {written.threshold:.4g}"
    # Where none is flagged, the one that comes nearest.
    shown = written.worst[: max(1, min(written.anomalous, len(written.worst)))]
    worst = [
        f"{printable(each.name)} "
        + (
            f"{each.score:.4g}"
            if math.isnan(each.score_over_threshold)
            else f"{each.score_over_threshold:.2f} x"
        )
        for each in shown
    ]
    return said + (f"; worst (in thresholds): {', '.join(worst)}" if worst else "")


def _speed(clock: dict[str, float], device: str) -> None:
    rate, total = clock["images_per_second"], clock["total"]
    typer.echo(f"{rate:.1f} images per second on {device}; of {total:.2f} s:")
    for name, meaning in (
        ("network", "in the network"),
        ("scoring", "in discrepancy, smoothing, pooling"),
        ("waiting", "waiting for images"),
        ("decoding", "decoding, in threads beside the rest"),
    ):
        typer.echo(f"  {clock[name]:8.2f} s {meaning}")


def _shown(verdicts: Iterable[Verdict | Unreadable], total: int) -> Iterator[Verdict | Unreadable]:
    """A progress bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(
        verdicts, "judging", total, console=console, disable=not console.is_terminal, transient=True
    )
