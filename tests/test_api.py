"""What `import tuner` offers: found by Tab, named as on the command line, wrong in plain words."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tuner
from tests.study.toys import make_conductor, make_ledger, record
from tuner import api
from tuner.cli.main import app
from tuner.cli.study_options import PANELS
from tuner.status import newest, study_status
from tuner.stopping import answering_interrupts
from tuner.study.config import StudyConfig
from tuner.study.home import Home

RENAMED = {"methods": "method", "pins": "set"}
OWN = {"home", "resume", "durable", "progress", "voice"}


def test_what_there_is_is_found_and_stays_what_it_is() -> None:
    assert {"launch", "status", "report", "load", "__version__"} <= set(dir(tuner))
    assert tuner.__version__.count(".") == 2
    assert Path(tuner.__file__).with_name("py.typed").is_file()
    for name in ("status", "report"):
        # Modules of the same name are imported by other parts of the program.
        module = importlib.import_module(f"tuner.{name}")
        assert getattr(tuner, name) is getattr(api, name) is not module


def test_launch_has_every_option_of_the_command_line_with_its_default() -> None:
    found = {
        name: parameter.default
        for name, parameter in inspect.signature(api.launch).parameters.items()
        if name not in OWN
    }
    kept = {
        RENAMED.get(name, name): field.default
        for name, field in StudyConfig.model_fields.items()
        if name not in ("recipe", "edition")
    }
    assert found.keys() == kept.keys()
    for name in found.keys() - {"name", "category", "method", "set"}:
        assert found[name] == kept[name], name
    assert (found["method"],) == kept["method"]
    shown = {name for names in PANELS.values() for name in names.split()} - {"|", "pin"}
    assert shown | {"set"} == found.keys()
    assert all(f"`{name}`" in str(api.launch.__doc__) for name in found)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget": 0}, "budget is '0'"),
        ({"method": "fea"}, "did you mean feature-fae?"),
        ({"criterion": "brda"}, "did you mean borda?"),
        ({"set": {"stepz": 3}}, "unknown hyperparameter stepz; did you mean steps?"),
        ({"size": "big"}, "size is 'big'"),
        ({"engine": "rai"}, "engine is 'rai': it must be 'ray' or 'local'"),
        ({"held_out": 0.9}, "held_out is 0.9: it must be less than or equal to 0.5"),
    ],
)
def test_errors_are_those_of_the_command_line(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        api.launch("tile", home=tmp_path, **{"engine": "local", "size": 16, **options})
    assert "pydantic" not in str(raised.value)


def test_help_is_short_and_all_of_it_is_there() -> None:
    runner = CliRunner()
    brief = runner.invoke(app, ["launch", "--help"], env={"COLUMNS": "100"}).output
    full = runner.invoke(app, ["launch", "--help-all"], env={"COLUMNS": "100"}).output
    assert len(brief.splitlines()) < 60
    assert all(f"─ {panel} ─" in brief for panel in PANELS)
    assert "--budget" in brief and "tuner launch --data" in brief
    assert "--cpus-per-worker" not in brief and "--cpus-per-worker" in full
    assert "--durable" in full


def test_a_study_that_is_not_named_is_the_newest_and_one_misspelt_is_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    home = Home(tmp_path)
    for age, name in ((100, "lids-1"), (50, "tile-1")):
        StudyConfig(name=name, category="lids").write(home.study(name).config)
        os.utime(home.study(name).config, (age, age))
    assert newest(home) == "lids-1"
    for command in ("report", "audit", "resume", "status"):
        done = CliRunner().invoke(app, [command])
        assert done.exit_code == 2 and "lids-1" in done.output, (command, done.output)
    done = CliRunner().invoke(app, ["status", "lids"])
    assert "did you mean lids-1" in done.output


def test_a_running_trial_is_not_counted_as_ended(tmp_path: Path) -> None:
    home = Home(tmp_path)
    conductor = make_conductor(make_ledger(tmp_path), "4")
    config = StudyConfig(name="toy-study", category="lids", budget="4", criterion="score_variance")
    config.write(home.study("toy-study").config)
    spec = conductor.next()
    assert spec is not None
    assert conductor.report(spec.number, record(spec.number, 1, 0.5))
    found = study_status("toy-study", home)
    assert (found["spent"], found["ended"], found["running"]) == (0.0, 0, 1)
    conductor.end(spec.number, "failed", "a test")
    found = study_status("toy-study", home)
    assert (found["spent"], found["ended"], found["running"]) == (0.25, 1, 0)


def test_ctrl_c_is_answered_while_the_program_still_ends_things() -> None:
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt), answering_interrupts(lambda: said.append("stopping")):
        signal.raise_signal(signal.SIGINT)
    assert said == ["stopping"]
