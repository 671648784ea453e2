"""What Ray says of a trial that ended, told apart by its own words."""

from __future__ import annotations

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    LocalRayletDiedError,
    RayTaskError,
    WorkerCrashedError,
)

from tuner.study.engine_ray import lost_process, reason_of


@pytest.mark.parametrize(
    "error",
    [
        ActorDiedError(),
        # What comes when a whole node dies: its actor cannot be reached, and nobody knows more yet.
        ActorUnavailableError("The actor is temporarily unavailable: RPC error: refused", None),
        WorkerCrashedError(),
        LocalRayletDiedError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lost_process_is_no_failure_of_the_trial(error: Exception) -> None:
    assert lost_process(str(error))
    assert reason_of(f"Failure # 1\n{error}\n") == "the process of the trial died"


def test_an_error_of_the_trial_is_one() -> None:
    error = RayTaskError("train", "Traceback:\nValueError: width is 3", ValueError("width is 3"))
    assert not lost_process(str(error))
    assert reason_of(f"Failure # 1\n{error}\n").endswith("width is 3")
    creation = ActorDiedError(error)
    assert not lost_process(str(creation))
