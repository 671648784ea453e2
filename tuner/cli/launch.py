"""`tuner launch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from tuner.addresses import without_credentials
from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json
from tuner.cli.study_options import HelpAll, Verbose, takes_study

OUT = "Output"


@takes_study
def launch(
    study: Callable[[], dict[str, Any]],
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the plan and an estimate; train nothing.", rich_help_panel=OUT
        ),
    ] = False,
    verbose: Verbose = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object on standard output.", rich_help_panel=OUT),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the study of that --name where there is one.",
            rich_help_panel=OUT,
            hidden=True,
        ),
    ] = False,
    durable: Annotated[
        bool,
        typer.Option(
            "--durable",
            help="Refuse to begin where a lost machine would lose results.",
            rich_help_panel=OUT,
            hidden=True,
        ),
    ] = False,
    help_all: HelpAll = False,
) -> None:
    """Search, select without labels, register the winner as challenger.

    Labels, where the data have them, are opened only afterwards, for the audit.

    \b
    tuner launch                                  the main job on demo data
    tuner launch --data ./lids --budget 30        your parts, 30 trials
    tuner launch --data ./lids --budget 2h --ensemble 3 --name lids-2
    tuner launch --data ./lids --dry-run          the plan alone
    """
    with explained(), only_json(as_json):
        from tuner import api
        from tuner.job import plan_study
        from tuner.screen.voice import make_voice
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
            voice.summary(result, verbose=verbose)
    if as_json:
        print_json(result)
