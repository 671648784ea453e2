"""`tuner resume`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json


def resume(
    study: Annotated[str, typer.Argument(help="Name of the study; see: tuner list studies.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
) -> None:
    """Go on with a study that was stopped or killed.

    Finished trials are kept, running ones go on from their last rung, and the time in between is
    not charged to the budget.
    """
    with explained(), only_json(as_json):
        from tuner import api
        from tuner.cli.voice import make_voice

        voice = make_voice(to_error=as_json)
        result = api.resume(study, voice=voice)
        voice.summary(result)
    if as_json:
        print_json(result)
