"""Trials that begin one task from several initial values, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from methods.criteria.contract import Criterion
from methods.criteria.registry import get_criterion
from methods.registry import METHODS, get_method
from search_spaces.loader import load_search_space
from tests.study.toys import (
    COST,
    LEARNER,
    SPACE,
    Learner,
    Taker,
    learning,
    make_conductor,
    make_ledger,
    record,
)
from tuner.study.conductor import Conductor
from tuner.study.groups import describe, passed_over, representative
from tuner.study.ledger import Entry, Ledger
from tuner.study.selection import rank, select
from tuner.study.space import build_space, families_of

LOSS = get_criterion("validation_loss")
SYNTHETIC = get_criterion("synthetic_validation")


@pytest.fixture(autouse=True)
def methods(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in (Learner(), Taker()):
        monkeypatch.setitem(METHODS.known, method.name, method)  # type: ignore[arg-type]


def study(folder: Path, objective: Criterion = LOSS, **options: Any) -> tuple[Ledger, Conductor]:
    ledger = make_ledger(folder, spaces=[LEARNER], directions=[objective.direction], **options)
    blank: dict[str, Any] = {"objectives": [objective], "spaces": [LEARNER], "budget": "3"}
    return ledger, make_conductor(ledger, blank.pop("budget"), **blank)


def run(conductor: Conductor, records: list[dict[str, Any]], objective: Criterion = LOSS) -> None:
    """Play one trial after the other; each record holds for all of a trial's rungs."""
    for given in records:
        spec = conductor.next()
        assert spec is not None
        for rung in range(1, 5):
            told = {**given, "number": spec.number, "rung": rung}
            told["criteria"] = {objective.name: given["criteria"]["quality"]}
            if not conductor.report(spec.number, told):
                break


def test_a_group_begins_with_the_defaults_and_stays_in_the_budget(tmp_path: Path) -> None:
    ledger, conductor = study(tmp_path)
    run(conductor, [learning(0, 1, 1.0)] * 3)
    assert conductor.next() is None
    entries = ledger.entries()
    assert [entry.kind for entry in entries] == ["default", "sibling", "sibling"]
    assert {entry.group for entry in entries} == {"learner starts"}
    assert [entry.point["initial_size"] for entry in entries] == [0.1, 0.2, 0.4]


def test_siblings_are_chosen_among_by_variance_and_never_by_the_loss(tmp_path: Path) -> None:
    ledger, conductor = study(tmp_path)
    # The second has the lowest loss; the third varies most.
    run(conductor, [learning(0, 1, *told) for told in ((1.2, 2.0), (0.3, 1.0), (2.0, 5.0))])
    entries = ledger.entries()
    # Stopping a sibling by the loss would choose by it.
    assert {entry.state for entry in entries} == {"finished"}
    assert representative(entries) == entries[2]
    assert passed_over(entries) == {0, 1}
    assert select(entries, [LOSS])[0].number == 2
    assert [entry.number for entry in rank(entries, LOSS)] == [2, 1, 0]
    (group,) = describe(entries)
    assert group["chosen"] == 2 and group["chosen_by"] == "score_variance_standardised"
    assert [m["start"] for m in group["members"]] == [{"initial_size": s} for s in (0.1, 0.2, 0.4)]


def test_other_trials_win_against_the_representative_only(tmp_path: Path) -> None:
    ledger, conductor = study(tmp_path)
    run(conductor, [learning(0, 1, *told) for told in ((1.2, 2.0), (0.3, 1.0), (2.0, 5.0))])
    entries = ledger.entries()
    stranger = replace(entries[0], number=7, group="", kind="search")
    assert select([*entries, stranger], [LOSS])[0].number == 7


def test_no_criterion_stops_a_sibling_or_chooses_among_them(tmp_path: Path) -> None:
    ledger, conductor = study(tmp_path, SYNTHETIC)
    # The last is the worst by the criterion and varies most; it is undefined at first.
    told = ((0.6, 5.0), (0.9, 1.0), (0.1, 9.0))
    run(conductor, [learning(0, 1, *one) for one in told[:2]], SYNTHETIC)
    spec = conductor.next()
    assert spec is not None
    undefined = {**learning(spec.number, 1, None, 9.0), "criteria": {SYNTHETIC.name: None}}
    assert conductor.report(spec.number, undefined)
    for rung in (2, 3, 4):
        told_now = {**learning(spec.number, rung, 0.1, 9.0), "criteria": {SYNTHETIC.name: 0.1}}
        assert conductor.report(spec.number, told_now) is (rung < 4)
    entries = ledger.entries()
    assert {entry.state for entry in entries} == {"finished"}
    assert select(entries, [SYNTHETIC])[0].number == 2
    assert passed_over(entries) == {0, 1}


def test_collapsed_or_unlearned_siblings_stand_back_however_much_they_vary() -> None:
    def member(number: int, variance: float | None, **changes: Any) -> Entry:
        told = {**learning(number, 4, 1.0, variance), **changes}
        state: Any = changes.pop("state", "finished")
        return Entry(
            number, "sibling", "learner", {}, state, (told,), 1.0, "", None, None, group="g"
        )

    plain, wild = member(0, 2.0), member(1, 1e6, comparable=False)
    assert representative([plain, wild]) == plain
    assert representative([wild, member(2, 1e7, comparable=False)]) != wild
    undefined = member(3, None)
    assert representative([undefined, plain]) == plain
    stopped = replace(member(4, 9.0), state="stopped_early")
    assert representative([stopped, plain]) == plain
    assert representative([replace(plain, state="running")]) is None
    twin = member(5, 2.0)
    assert representative([twin, plain]) == plain


def test_a_pareto_winner_is_no_sibling_that_was_passed_over(tmp_path: Path) -> None:
    ledger, conductor = study(tmp_path)
    run(conductor, [learning(0, 1, *told) for told in ((1.2, 2.0), (0.3, 1.0), (2.0, 5.0))])
    entries = [
        replace(e, records=({**e.last, "criteria": {**e.last["criteria"], "cost": e.number}},))
        for e in ledger.entries()
    ]
    assert select(entries, [COST, LOSS], front=[0, 1])[0].number == 2


def test_usual_starts_become_siblings_where_the_space_leaves_them_room() -> None:
    method = get_method("st-ssad")
    whole = build_space(method, load_search_space("st-ssad"), "cpu", {})
    assert whole.defaults["initial_size"] == 0.01
    found = [sibling["initial_size"] for sibling in whole.siblings]
    assert found == pytest.approx([1e-4, 1e-3, 1e-1])
    pinned = build_space(method, load_search_space("st-ssad"), "cpu", {"initial_size": 0.05})
    assert pinned.siblings == ()
    turned = build_space(method, load_search_space("st-ssad"), "cpu", {"augmentation": "rotation"})
    angles = [turned.complete(s)["initial_rotation_angle"] for s in turned.siblings]
    assert len(angles) == 3 and len({*angles, turned.defaults["initial_rotation_angle"]}) == 4
    assert build_space(get_method("fae"), load_search_space("fae"), "cpu", {}).siblings == ()


def test_the_nearest_point_keeps_to_ranges_pins_and_offers() -> None:
    space = replace(SPACE, fixed={"steps": 10, "angle": 0.0}, pinned=frozenset({"steps"}))
    wish = {"rate": 7.0, "kind": "c", "depth": 2.6, "steps": 99, "angle": 1.5}
    assert space.nearest(wish) == {"rate": 1.0, "kind": "a", "depth": 3, "angle": 1.5}
    assert space.nearest({"angle": 0.0}) == dict(SPACE.defaults)


def test_no_judge_uses_what_any_choice_of_a_space_trains_on() -> None:
    class Families(Learner):
        def families(self, hyperparameters: Mapping[str, Any]) -> frozenset[str]:
            blobs = {"blob"} if hyperparameters["rate"] > 0 else {"dots"}
            return frozenset({str(hyperparameters["kind"]), *blobs})

    method: Any = Families()
    assert families_of(method, SPACE) == {"a", "b", "blob", "dots"}
    chosen = {name: SPACE.drawn[name] for name in ("rate", "depth")}
    defaults = {name: SPACE.defaults[name] for name in chosen}
    pinned = replace(SPACE, drawn=chosen, defaults=defaults, fixed={"steps": 10, "kind": "b"})
    assert families_of(method, pinned) == {"b", "blob", "dots"}


def test_a_sampled_point_brings_its_own_start_and_has_no_siblings(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, spaces=[LEARNER])
    conductor = make_conductor(ledger, "6", spaces=[LEARNER])
    for _ in range(6):
        spec = conductor.next()
        assert spec is not None
        conductor.report(spec.number, record(spec.number, 4, 0.5))
    kinds = [(entry.kind, entry.group) for entry in ledger.entries()]
    assert kinds[3:] == [("random", "")] * 3
