"""What was learned by gradient re-enters the search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from methods.contract import AdoptingMethod, TuningMethod
from methods.registry import METHODS, get_method
from tests.study.toys import LEARNER, TAKER, Learner, Taker, learning, make_conductor, make_ledger
from tests.study.toys import record as plain
from tuner.study.conductor import Conductor
from tuner.study.ledger import Ledger

BOTH = [LEARNER, TAKER]


@pytest.fixture(autouse=True)
def methods(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in (Learner(), Taker()):
        monkeypatch.setitem(METHODS.known, method.name, method)  # type: ignore[arg-type]
    assert isinstance(get_method("learner"), TuningMethod)
    assert isinstance(get_method("taker"), AdoptingMethod)
    assert not isinstance(get_method("taker"), TuningMethod)


def study(folder: Path, budget: str = "20", **options: Any) -> tuple[Ledger, Conductor]:
    ledger = make_ledger(folder, spaces=BOTH, random_trials=0, **options)
    return ledger, make_conductor(ledger, budget, spaces=BOTH, random_trials=0)


def finish(conductor: Conductor, quality: float, **changes: Any) -> int:
    """Run the next trial to its end; returns its number."""
    spec = conductor.next()
    assert spec is not None
    for rung in range(1, 5):
        told = plain(spec.number, rung, quality)
        if spec.method == "learner":
            told = learning(spec.number, rung, quality, **changes)
        if not conductor.report(spec.number, told):
            break
    return spec.number


def test_a_learned_point_is_kept_and_tried_by_both_methods(tmp_path: Path) -> None:
    ledger, conductor = study(tmp_path)
    first = finish(conductor, 0.9, size=0.4)
    kept = ledger.entry(first).learned
    assert kept == {"initial_size": 0.4, "rate": 0.5, "initial_angle": 1.0}
    # The other default and two siblings come first: they were enqueued before.
    for quality in (0.1, 0.2, 0.3):
        finish(conductor, quality)
    numbers = [finish(conductor, 0.4) for _ in range(2)]
    own, other = (ledger.entry(number) for number in numbers)
    assert (own.method, own.kind, own.origin) == ("learner", "learned", first)
    assert own.point == kept
    assert (other.method, other.kind, other.origin) == ("taker", "learned", first)
    # Moved into the taker's range; the share is not drawn there and travels beside the sampler.
    assert other.point == {"patch_size": 0.3, "patch_share": 0.5}
    assert ledger.entries()[-1].number == max(numbers)


def test_each_trial_costs_the_budget_once(tmp_path: Path) -> None:
    ledger, conductor = study(tmp_path, "6")
    ran = []
    while conductor.open:
        ran.append(finish(conductor, 0.9 - 0.01 * len(ran), size=0.3))
    assert len(ran) == len(set(ran)) == len(ledger.entries()) == 6
    assert conductor.spent().trials == 6


def test_weak_and_learned_trials_offer_nothing_to_their_own_method(tmp_path: Path) -> None:
    ledger, conductor = study(tmp_path)
    for quality in (0.9, 0.1, 0.5, 0.5):
        finish(conductor, quality, size=0.3)
    assert ledger.waiting() == 2
    # The learned trial becomes the best, yet only the other method hears of what it learned.
    learned = finish(conductor, 0.95, size=0.05)
    assert ledger.entry(learned).kind == "learned"
    assert ledger.offered("taker", learned) and not ledger.offered("learner", learned)


def test_a_driver_that_dies_between_offer_and_end_offers_once(tmp_path: Path) -> None:
    ledger, conductor = study(tmp_path)
    spec = conductor.next()
    assert spec is not None
    for rung in (1, 2, 3, 4):
        ledger.report(spec.number, learning(spec.number, rung, 0.9), 0.9)
    conductor._look_around(ledger.entry(spec.number), "finished")
    waiting = ledger.waiting()
    ledger = make_ledger(tmp_path, spaces=BOTH, resume=True)
    again = make_conductor(ledger, "20", spaces=BOTH)
    assert again.next() is not None
    assert ledger.entry(spec.number).state == "finished"
    # The one that was handed out waits no longer.
    assert ledger.waiting() == waiting - 1


def test_a_failed_trial_offers_nothing(tmp_path: Path) -> None:
    ledger, conductor = study(tmp_path)
    spec = conductor.next()
    assert spec is not None
    conductor.report(spec.number, learning(spec.number, 1, 0.9))
    waiting = ledger.waiting()
    conductor.end(spec.number, "failed", "out of memory")
    assert ledger.waiting() == waiting and not ledger.entry(spec.number).learned
