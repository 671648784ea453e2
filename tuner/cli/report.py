"""`tuner report` and `tuner compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json
from tuner.cli.study_options import StudyName

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def report(
    study: StudyName = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; in the study's folder if missing.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Write a study's report: one HTML file that needs no network.

    A study writes one when it ends. Written again after `tuner audit`, it shows what labels say.
    """
    with explained(), only_json(as_json):
        from tuner.reporting import report as write
        from tuner.status import newest
        from tuner.study.home import Home

        home = Home.here()
        study = study or newest(home)
        path = write(study, home, out)
    if as_json:
        print_json({"study": study, "report": str(path), "bytes": path.stat().st_size})
    else:
        typer.echo(path)
    if show:
        typer.launch(path.as_uri())


def compare(
    studies: Annotated[list[str], typer.Argument(help="Names of two or more studies.")],
    as_json: Json = False,
) -> None:
    """Put the winners of several studies side by side."""
    with explained(), only_json(as_json):
        from tuner import api

        result = api.compare(studies)
        if not as_json:
            from tuner.screen.voice import make_voice

            make_voice(to_error=False).comparison(result)
    if as_json:
        print_json(result)
