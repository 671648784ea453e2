"""`tuner launch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from tuner.addresses import without_credentials
from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json
from tuner.cli.study_options import takes_study


@takes_study
def launch(
    study: Callable[[], dict[str, Any]],
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the study of that --name where there is one."),
    ] = False,
    durable: Annotated[
        bool,
        typer.Option("--durable", help="Refuse to begin where a lost machine would lose results."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and an estimate; train nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
) -> None:
    """Search, select without labels, register the winner.

    Trains trials on the normal images of CATEGORY, judges them by label-free criteria on an
    unlabelled batch, and registers the best as a model with the alias "challenger". Labels, where
    the data have them, are opened only afterwards, for the audit.
    """
    with explained(), only_json(as_json):
        from tuner import api
        from tuner.cli.voice import make_voice
        from tuner.job import plan_study
        from tuner.study.config import STORAGE_VARIABLE, TRACKING_VARIABLE

        request = study()
        for option, name in (("storage", STORAGE_VARIABLE), ("tracking_uri", TRACKING_VARIABLE)):
            if request[option] and without_credentials(request[option]) != request[option]:
                text = f"everybody on this machine sees the command line: give it by {name}"
                typer.secho(f"warning: a password is in it; {text}", err=True, fg="yellow")
        voice = make_voice(to_error=as_json)
        if dry_run:
            config = api.configure(**request)
            result = plan_study(config, api.home_at(None), voice).as_dict()
        else:
            result = api.launch(**request, voice=voice, resume=resume, durable=durable)
            voice.summary(result)
    if as_json:
        print_json(result)
