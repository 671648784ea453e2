"""A self-tuning trial in the study: the same records, checkpoints and rungs as any other."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from methods.contract import TuningMethod
from methods.criteria.defects import build_synthetic
from methods.criteria.registry import criterion_names, get_criterion
from methods.registry import get_method
from search_spaces.loader import load_search_space
from tests.study.toys import Clock, blank, make_conductor, make_ledger
from tests.threads import in_threads
from tuner.study.arrays import StudyArrays, pack_synthetic
from tuner.study.conductor import Conductor
from tuner.study.engine_local import run_here
from tuner.study.files import TrialFiles
from tuner.study.space import MethodSpace, build_space
from tuner.study.trial import Runtime, TrialSpec, conduct


@pytest.fixture(scope="module")
def arrays() -> StudyArrays:
    rng = np.random.default_rng(0)
    stripes = 128 + 60 * np.sin(np.arange(32) / 2)

    def images(count: int) -> np.ndarray:
        noisy = stripes + rng.normal(0, 12, (count, 3, 32, 32))
        return noisy.clip(0, 255).astype(np.uint8)

    train, held_out, test = images(16), images(6), images(10)
    test[:4, :, 8:16, 8:16] //= 3
    synthetic = build_synthetic(
        torch.from_numpy(held_out),
        torch.from_numpy(test),
        torch.Generator().manual_seed(0),
        exclude=get_method("st-ssad").families({}),
    )
    return StudyArrays(train, held_out, test, pack_synthetic(synthetic))


def make_space() -> MethodSpace:
    pins = {"steps": 9, "width": 4, "batch_size": 4, "inner_updates": 2}
    return build_space(get_method("st-ssad"), load_search_space("st-ssad"), "cpu", pins)


def make_spec(folder: Path) -> TrialSpec:
    space = make_space()
    return TrialSpec(
        number=0,
        method="st-ssad",
        hyperparameters=space.complete(space.defaults),
        grid=space.grid,
        criteria=criterion_names(),
        leading="score_variance",
        seed=3,
        rungs=3,
        folder=str(folder),
    )


def test_records_carry_what_was_learned_and_go_on_after_an_interruption(
    arrays: StudyArrays, tmp_path: Path
) -> None:
    spec = make_spec(tmp_path / "whole")
    assert len(spec.grid) == 2
    records = list(conduct(spec, arrays, Runtime()))
    assert [r["rung"] for r in records] == [1, 2, 3]
    assert all(set(r["tuned"]) == {"size", "ratio", "angle"} for r in records)
    assert records[0]["tuned"]["size"] == pytest.approx(0.01)
    assert records[-1]["tuned"] != records[0]["tuned"]
    assert all(set(r["criteria"]) == set(criterion_names()) for r in records)
    assert records[-1]["diagnostics"]["tuning_updates"] > 0
    assert records[0]["trajectory"] == []
    ways = [point for record in records for point in record["trajectory"]]
    assert [step for step, _ in ways] == [6, 8]
    assert all(set(values) == {"size", "ratio", "angle"} for _, values in ways)
    method = get_method("st-ssad")
    assert isinstance(method, TuningMethod)
    for record in records:
        assert record["warnings"] == method.warnings(record["diagnostics"])
        assert record["comparable"] == method.comparable(record["diagnostics"])
        # Both settings of this grid are judged apart, and siblings by the default one.
        assert record["sibling_variance"] > 0

    broken = replace(spec, folder=str(tmp_path / "broken"))
    first = next(conduct(broken, arrays, Runtime()))
    rest = list(conduct(replace(broken, after_rung=1), arrays, Runtime()))
    for found, expected in zip([first, *rest], records, strict=True):
        for key in ("tuned", "trajectory", "criteria", "train_loss", "diagnostics"):
            assert found[key] == expected[key]

    detector = get_method("st-ssad").restore(
        spec.hyperparameters, TrialFiles(Path(spec.folder)).weights()
    )
    images = torch.from_numpy(arrays.test) / 255
    scores = detector.grid_scores(images, spec.grid).numpy()
    np.testing.assert_allclose(scores, TrialFiles(Path(spec.folder)).scores()["test"], rtol=1e-5)


def conductor(folder: Path, *, resume: bool = False, clock: Clock | None = None) -> Conductor:
    space = make_space()
    ledger = make_ledger(folder, spaces=[space], random_trials=0, resume=resume)
    return make_conductor(
        ledger,
        "1",
        clock,
        spaces=[space],
        objectives=[get_criterion("score_variance")],
        rungs=3,
        blank=blank(criteria=criterion_names(), leading="score_variance", rungs=3, device_rate=2.0),
        folder=lambda number: str(folder / "trials" / f"{number:04d}"),
    )


def test_an_interrupted_study_goes_on_from_what_was_learned(
    arrays: StudyArrays, tmp_path: Path
) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    run_here(conductor(tmp_path / "whole"), arrays, cpus=1, gpus=0)
    # This driver dies after the second rung of three.
    first = conductor(tmp_path / "cut")
    spec = first.next()
    assert spec is not None
    trial = conduct(spec, arrays, Runtime())
    for _ in range(2):
        assert first.report(spec.number, next(trial))
    trial.close()
    checkpoint = TrialFiles(Path(spec.folder)).checkpoint()
    assert checkpoint is not None and checkpoint["rung"] == 2
    assert checkpoint["method"]["tuned"]["updates"] == 1
    assert checkpoint["method"]["tuned"]["first"].abs().sum() > 0
    assert checkpoint["method"]["velocity"]

    # A day later another one takes over.
    clock = Clock()
    clock.now = 86400.0
    second = conductor(tmp_path / "cut", resume=True, clock=clock)
    run_here(second, arrays, cpus=1, gpus=0)
    (cut,), (whole,) = (
        make_ledger(tmp_path / name, spaces=[make_space()], resume=True).entries()
        for name in ("cut", "whole")
    )
    assert cut.state == whole.state == "finished"
    assert cut.learned == whole.learned and cut.learned["initial_size"] != 0.01
    for one, two in zip(cut.records, whole.records, strict=True):
        for key in ("rung", "tuned", "trajectory", "criteria", "sibling_variance"):
            assert one[key] == two[key]
    # Charged for the seconds that it ran on its two devices, and not for the day in between.
    assert cut.device_seconds == pytest.approx(2.0 * cut.last["seconds"])
    assert cut.last["seconds"] > cut.records[1]["seconds"] > cut.records[0]["seconds"] > 0
    assert second.spent().device_seconds == pytest.approx(cut.device_seconds)


def test_two_workers_report_what_one_does(arrays: StudyArrays, tmp_path: Path) -> None:
    def spec(name: str) -> TrialSpec:
        made = make_spec(tmp_path / name)
        # A round patch has no angle to learn: its gradient would be rounding.
        start = {"initial_ratio": 1.2, "initial_angle": 0.3}
        values = {**made.hyperparameters, "norm": "group", "warm_share": 0.2, **start}
        return replace(made, hyperparameters=values)

    alone = list(conduct(spec("alone"), arrays, Runtime()))
    records, bare = in_threads(
        2,
        lambda rank, all_reduce: list(
            conduct(spec("pair"), arrays, Runtime(torch.device("cpu"), rank, 2, all_reduce))
        ),
    )
    assert [set(record) for record in bare] == [{"number", "rung"}] * 3
    for one, two in zip(alone, records, strict=True):
        # An angle is known up to half a turn only.
        turned = math.sin(two["tuned"].pop("angle") - one["tuned"].pop("angle"))
        assert turned == pytest.approx(0.0, abs=1e-3)
        assert two["tuned"] == pytest.approx(one["tuned"], rel=1e-3)
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
        assert [step for step, _ in two["trajectory"]] == [step for step, _ in one["trajectory"]]


def test_what_was_learned_is_a_point_of_the_search() -> None:
    method = get_method("st-ssad")
    assert isinstance(method, TuningMethod)
    assert not isinstance(get_method("fae"), TuningMethod)
    space = build_space(method, load_search_space("st-ssad"), "cpu", {})
    point = method.learned(space.complete(space.defaults), {"size": 0.03, "angle": 1.0})
    assert point["initial_size"] == 0.03 and point["initial_angle"] == 1.0
    assert point.keys() == space.complete(space.defaults).keys()
