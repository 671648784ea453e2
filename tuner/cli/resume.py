"""`tuner resume`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json
from tuner.cli.study_options import StudyName, Verbose, takes_changes


@takes_changes
def resume(
    changes: dict[str, Any],
    study: StudyName = None,
    verbose: Verbose = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
) -> None:
    """Go on with a study that was stopped or killed.

    Finished trials are kept, running ones go on from their last rung, and the time in between is
    not charged to the budget. Options change what was asked for: a bigger budget, more or fewer
    workers, another cluster. A study that has ended is shown again.
    """
    with explained(), only_json(as_json):
        from tuner import api
        from tuner.screen.voice import make_voice
        from tuner.status import newest
        from tuner.study.home import Home

        voice = make_voice(to_error=as_json)
        result = api.resume(study or newest(Home.here()), voice=voice, **changes)
        voice.summary(result, verbose=verbose)
    if as_json:
        print_json(result)
