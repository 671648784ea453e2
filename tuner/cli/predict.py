"""`tuner predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from tuner.cli.errors import PROBLEM, explained
from tuner.cli.output import only_json, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuner.prediction.stream import Unreadable, Verdict

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
    """Judge images by a packaged model; writes a table and heat maps over the images.

    Streams: ten thousand images need no more memory than a hundred. An image that cannot be read
    is reported and skipped, and the exit code is then 1.
    """
    with explained(), only_json(as_json):
        from pathlib import Path

        from tuner import api
        from tuner.prediction.places import find
        from tuner.prediction.stream import Clock, judge_all
        from tuner.prediction.writing import count_all, write_all

        packaged = api.load(model, tracking_uri=tracking_uri, device=device)
        places, clock = find(images), Clock()
        stream = _shown(judge_all(packaged, places, batch=batch, clock=clock), len(places))
        if benchmark:
            written = count_all(stream)
        else:
            kind = cast('Literal["csv", "jsonl"]', table)
            written = write_all(stream, Path(out), kind, overlays)
        skipped = written.unreadable
        for bad in skipped[:_NAMED]:
            typer.secho(f"skipped {bad.name}: {bad.reason}", err=True, fg="yellow")
        if len(skipped) > _NAMED:
            typer.secho(f"skipped {len(skipped) - _NAMED} more", err=True, fg="yellow")
    if as_json:
        print_json({"model": model, **written.as_dict(), "speed": clock.as_dict()})
    else:
        typer.echo(f"{written.anomalous} of {written.images} images are anomalous")
        if written.table is not None:
            typer.echo(f"table     {written.table}")
        if written.overlays is not None:
            typer.echo(f"overlays  {written.overlays}")
        if benchmark:
            _speed(clock.as_dict(), str(packaged.device))
    if skipped:
        raise typer.Exit(PROBLEM)


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
