"""A trial by itself: records, checkpoints, failures, and the same numbers however it is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.contract import Context, Diverged, Progress, TrialData
from methods.criteria.defects import build_synthetic
from methods.criteria.registry import criterion_names
from methods.registry import METHODS, get_method
from search_spaces.loader import load_search_space
from tests.threads import in_threads
from tuner.study.arrays import StudyArrays, pack_synthetic
from tuner.study.files import TrialFiles
from tuner.study.space import build_space
from tuner.study.trial import Bench, Runtime, TrialSpec, conduct


@pytest.fixture(scope="module")
def arrays() -> StudyArrays:
    rng = np.random.default_rng(0)
    stripes = 128 + 60 * np.sin(np.arange(32) / 2)

    def images(count: int) -> np.ndarray:
        noisy = stripes + rng.normal(0, 12, (count, 3, 32, 32))
        return noisy.clip(0, 255).astype(np.uint8)

    train, held_out, test = images(16), images(6), images(10)
    test[:4, :, 8:16, 8:16] //= 3
    generator = torch.Generator().manual_seed(0)
    synthetic = build_synthetic(
        torch.from_numpy(held_out), torch.from_numpy(test), generator, exclude=frozenset()
    )
    return StudyArrays(train, held_out, test, pack_synthetic(synthetic))


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    space = build_space(
        get_method("fae"),
        load_search_space("fae"),
        "cpu",
        {"steps": 12, "width": 4, "batch_size": 4},
    )
    return TrialSpec(
        number=0,
        method="fae",
        hyperparameters=space.complete(space.defaults),
        grid=space.grid,
        criteria=criterion_names(),
        leading="synthetic_validation",
        seed=3,
        rungs=3,
        folder=str(tmp_path / "0000"),
    )


def timeless(record: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if not k.endswith("seconds")}


def test_a_record_at_each_rung_with_every_criterion(spec: TrialSpec, arrays: StudyArrays) -> None:
    records = list(conduct(spec, arrays, Runtime()))
    assert [record["rung"] for record in records] == [1, 2, 3]
    for record in records:
        assert set(record["criteria"]) == set(criterion_names())
        assert record["scoring"] == dict(spec.grid[record["setting"]])
        assert record["seconds"] >= record["train_seconds"] > 0
    files = TrialFiles(Path(spec.folder))
    assert files.records() == records
    assert files.scores()["test"].shape == (len(spec.grid), len(arrays.test))


def test_what_befell_the_images_while_they_were_scored_is_a_diagnostic(
    spec: TrialSpec, arrays: StudyArrays
) -> None:
    name = "energy-projection"
    pins = {"steps": 2, "width": 2, "batch_size": 4, "code": 4}
    space = build_space(get_method(name), load_search_space(name), "cpu", pins)
    grid = ({"iterations": 1}, {"iterations": 3}, {"score": "reconstruction"})
    values = space.complete(space.defaults)
    one = replace(spec, method=name, hyperparameters=values, grid=grid, rungs=1)
    (record,) = conduct(one, arrays, Runtime())
    found = record["diagnostics"]
    # One walk serves both numbers of iterations; the noise images are scored too.
    assert found["projections"] > len(arrays.test) + len(arrays.held_out)
    assert 0 <= found["diverged_projections"] <= found["projections"]


def test_kept_weights_give_the_kept_scores(spec: TrialSpec, arrays: StudyArrays) -> None:
    list(conduct(spec, arrays, Runtime()))
    files = TrialFiles(Path(spec.folder))
    detector = get_method("fae").restore(spec.hyperparameters, files.weights())
    data = arrays.trial_data()
    scores = detector.grid_scores(data.test.float() / 255, spec.grid)
    # A ratio to a nearly empty background shows the rounding of another batch size.
    torch.testing.assert_close(
        scores.float(), torch.from_numpy(files.scores()["test"]), rtol=2e-3, atol=1e-6
    )


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_trial_goes_on_with_fewer_or_more_workers(
    spec: TrialSpec, arrays: StudyArrays, tmp_path: Path, before: int, after: int
) -> None:
    whole = list(conduct(spec, arrays, Runtime()))
    depot = str(tmp_path / "depot")

    def work(rungs: int, world: int, after_rung: int) -> list[dict[str, Any]]:
        def one(rank: int, all_reduce: Any) -> list[dict[str, Any]]:
            folder = str(tmp_path / f"rank {rank} of {world}")
            mine = replace(spec, folder=folder, depot=depot, after_rung=after_rung)
            running = conduct(
                mine, arrays, Runtime(rank=rank, world_size=world, all_reduce=all_reduce)
            )
            return [next(running) for _ in range(rungs)]

        found = in_threads(world, one)
        assert all(isinstance(each, list) for each in found), found
        return list(found[0])

    records = work(2, before, 0) + work(1, after, 2)
    assert [record["rung"] for record in records] == [1, 2, 3]
    for got, wanted in zip(records, whole, strict=True):
        assert got["train_loss"] == pytest.approx(wanted["train_loss"], rel=1e-4)
        for name, value in wanted["criteria"].items():
            assert got["criteria"][name] == pytest.approx(value, rel=1e-2, abs=1e-6), name


def test_a_trial_goes_on_on_another_machine(
    spec: TrialSpec, arrays: StudyArrays, tmp_path: Path
) -> None:
    whole = list(conduct(spec, arrays, Runtime()))
    away = replace(spec, depot=str(tmp_path / "depot"), folder=str(tmp_path / "one"))
    running = conduct(away, arrays, Runtime())
    first = [next(running), next(running)]
    running.close()
    elsewhere = replace(away, folder=str(tmp_path / "two"), after_rung=2)
    rest = list(conduct(elsewhere, arrays, Runtime()))
    assert [record["rung"] for record in rest] == [3]
    assert [timeless(r) for r in first + rest] == [timeless(r) for r in whole]
    driver = TrialFiles(tmp_path / "driver", away.depot)
    driver.collect(3)
    assert [timeless(r) for r in driver.records()] == [timeless(r) for r in whole]
    assert driver.checkpoint() is None and driver.weights()


def test_an_interrupted_trial_goes_on_as_if_nothing_had_happened(
    spec: TrialSpec, arrays: StudyArrays, tmp_path: Path
) -> None:
    whole = list(conduct(spec, arrays, Runtime()))
    part = replace(spec, folder=str(tmp_path / "part"))
    running = conduct(part, arrays, Runtime())
    first = [next(running), next(running)]
    running.close()
    # The ledger heard of rung 1 only, so the second is told again, from the files.
    rest = list(conduct(replace(part, after_rung=1), arrays, Runtime()))
    assert [record["rung"] for record in rest] == [2, 3]
    assert rest[0] == first[1]
    assert [timeless(r) for r in [first[0], *rest]] == [timeless(r) for r in whole]
    assert rest[-1]["seconds"] > first[1]["seconds"]


def flip(file: Path, place: float) -> None:
    """Turn one byte of a file round."""
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        (lambda f: flip(f / "checkpoint.pt", 0.6), "checkpoint was damaged"),
        (lambda f: (f / "checkpoint.pt").write_bytes((f / "checkpoint.pt").read_bytes()[:999]),
         "checkpoint was damaged"),
        # As earlier versions wrote it, without a digest.
        (lambda f: (f / "checkpoint.pt").write_bytes(b"PK" + bytes(99)), "checkpoint was damaged"),
        (lambda f: (f / "checkpoint.pt").unlink(), "checkpoint was gone"),
        # The rung that the ledger has not heard of, in its own line.
        (lambda f: flip(f / "rungs.jsonl", 0.9), "records were damaged"),
        (lambda f: (f / "rungs.jsonl").write_bytes(b"\xff\n"), "records were damaged"),
    ],
)  # fmt: skip
def test_a_file_that_was_spoilt_costs_the_rungs_it_held(
    spec: TrialSpec, arrays: StudyArrays, damage: Any, lost: str
) -> None:
    whole = list(conduct(spec, arrays, Runtime()))
    running = conduct(spec, arrays, Runtime())
    first = [next(running), next(running)]
    running.close()
    damage(Path(spec.folder))
    rest = list(conduct(replace(spec, after_rung=1), arrays, Runtime()))
    assert [record["rung"] for record in rest] == [2, 3]
    for record in rest:
        (warning,) = record.pop("warnings")
        assert lost in warning and "trained again" in warning
    assert [timeless(r) for r in [first[0], *rest]] == [timeless(r) for r in whole]
    assert not TrialFiles(Path(spec.folder)).lost()


def test_a_byte_that_turned_round_is_noticed_wherever_it_is(
    spec: TrialSpec, arrays: StudyArrays
) -> None:
    running = conduct(spec, arrays, Runtime())
    next(running)
    running.close()
    files = TrialFiles(Path(spec.folder))
    for name in ("detector.safetensors", "scores.npz"):
        kept = (files.path / name).read_bytes()
        for place in (0.0, 0.5, 0.999):
            flip(files.path / name, place)
            assert [each.file.name for each in files.lost()] == [name], place
            (files.path / name).write_bytes(kept)
    assert not files.lost()
    # A digit may become another digit.
    text = (files.path / "rungs.jsonl").read_text()
    (files.path / "rungs.jsonl").write_text(text.replace('"train_loss": 0', '"train_loss": 1', 1))
    assert not files.records()


def test_where_files_were_lost_no_rung_is_told_twice(
    spec: TrialSpec, arrays: StudyArrays, tmp_path: Path
) -> None:
    whole = list(conduct(spec, arrays, Runtime()))
    bare = replace(spec, folder=str(tmp_path / "bare"), after_rung=2)
    rest = list(conduct(bare, arrays, Runtime()))
    assert [timeless(r) for r in rest] == [timeless(r) for r in whole[2:]]


def test_a_process_that_comes_back_late_changes_nothing(
    spec: TrialSpec, arrays: StudyArrays
) -> None:
    cut_off = conduct(spec, arrays, Runtime())
    next(cut_off)
    # Thought dead after its first rung; another process ends the trial meanwhile.
    list(conduct(replace(spec, after_rung=1), arrays, Runtime()))
    files = TrialFiles(Path(spec.folder))
    before = {path.name: path.read_bytes() for path in files.path.iterdir()}
    next(cut_off)
    assert {path.name: path.read_bytes() for path in files.path.iterdir()} == before


def test_files_that_cannot_be_written_are_no_failure_of_the_trial(
    spec: TrialSpec, arrays: StudyArrays, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    blocked = replace(spec, folder=str(tmp_path / "file" / "trial"))
    (told,) = conduct(blocked, arrays, Runtime())
    assert f"cannot be written to {tmp_path / 'file' / 'trial'} (Not a directory)" in told["unkept"]
    assert "failed" not in told


class Broken:
    """A method that fails in a chosen way at its second rung."""

    error: BaseException = Diverged("the loss is nan at step 7")

    def __getattr__(self, name: str) -> Any:
        return getattr(get_method("fae"), name)

    def fit(
        self, data: TrialData, hyperparameters: Mapping[str, Any], context: Context
    ) -> Iterator[Progress]:
        for progress in get_method("fae").fit(data, hyperparameters, context):
            if progress.rung == 2:
                raise self.error
            yield progress


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Diverged("the loss is nan at step 7"), "diverged: the loss is nan at step 7"),
        (MemoryError("no room"), "out of memory: no room"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried..."), "out of memory: CUDA out of"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_a_failure_is_a_record_with_its_reason(
    spec: TrialSpec,
    arrays: StudyArrays,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
) -> None:
    broken = Broken()
    broken.error = error
    monkeypatch.setitem(METHODS.known, "broken", broken)  # type: ignore[arg-type]
    records = list(conduct(replace(spec, method="broken"), arrays, Runtime()))
    assert records[0]["rung"] == 1
    assert records[-1]["failed"].startswith(reason)


def test_arrays_of_an_object_store_are_not_copied(arrays: StudyArrays) -> None:
    frozen = arrays.train.copy()
    frozen.setflags(write=False)
    tensor: Tensor = replace(arrays, train=frozen).trial_data().train
    assert tensor.data_ptr() == frozen.ctypes.data


def test_another_training_seed_changes_the_training_and_not_the_judging(
    spec: TrialSpec, arrays: StudyArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_with = []

    class Watched(Bench):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            judged_with.append(self.corrupted)

    monkeypatch.setattr("tuner.study.trial.Bench", Watched)
    short = replace(spec, rungs=1, hyperparameters={**spec.hyperparameters, "steps": 2})
    [own], [same], [other] = (
        conduct(replace(short, folder=str(tmp_path / str(n)), training_seed=n), arrays, Runtime())
        for n in (None, spec.seed, 4)
    )
    assert timeless(same) == timeless(own) and other["criteria"] != own["criteria"]
    assert all(torch.equal(drawn, judged_with[0]) for drawn in judged_with)
