"""`tuner audit`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json
from tuner.cli.study_options import StudyName


def audit(
    study: StudyName = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
) -> None:
    """Open the labels and measure the winner, the defaults and the best trial.

    The only command that reads labels. It changes nothing in the study.
    """
    with explained(), only_json(as_json):
        from tuner import api
        from tuner.screen.voice import make_voice
        from tuner.status import newest
        from tuner.study.home import Home

        voice, study = make_voice(to_error=as_json), study or newest(Home.here())
        result = api.audit(study)
        if result is None:
            raise ValueError(
                f"the data of {study} hold no labels; an audit needs test images in folders by "
                "kind (test/good, test/<defect>), and masks under ground_truth for pixel figures"
            )
        voice.audit(result)
        voice.reliability(result)
    if as_json:
        print_json(result)
