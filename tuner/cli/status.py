"""`tuner status`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json
from tuner.cli.study_options import StudyName


def status(
    study: StudyName = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
) -> None:
    """Show how far a study is, read from its ledger; nothing is started."""
    with explained(), only_json(as_json):
        from tuner.status import newest, study_status
        from tuner.study.home import Home

        home = Home.here()
        result = study_status(study or newest(home), home)
        if not as_json:
            from tuner.screen.voice import make_voice

            make_voice(to_error=False).status(result)
    if as_json:
        print_json(result)
