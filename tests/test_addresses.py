"""Credentials in addresses: stripped wherever one is kept or told, and asked for again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import write_mvtec
from tuner.addresses import (
    same_place,
    signed_in,
    spare_loopback,
    with_driver,
    with_login,
    without_credentials,
)
from tuner.job import launch
from tuner.registry import RegistryError
from tuner.request import tracking_uri
from tuner.status import study_status
from tuner.study.config import StudyConfig, ledger_url, read_config
from tuner.study.database import LedgerUnreachable
from tuner.study.home import Home
from tuner.study.ledger import Ledger


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://admin:hush@host:5000/x", "http://host:5000/x"),
        ("http://a:p@hush@h/x", "http://h/x"),
        ("https://hush@h", "https://h"),
        ("http://u:hush@[::1]:5000/x", "http://[::1]:5000/x"),
        ("postgresql://u:hu/sh@h:5432/d?sslmode=require&password=hush",
         "postgresql://h:5432/d?sslmode=require"),
        ("postgresql:///d?user=hush", "postgresql:///d"),
        ("s3://key:hu/sh@bucket/x", "s3://bucket/x"),
        ("API request to 'http://a:hush@c/api' (x@y), then http://d:hush@f:1, failed",
         "API request to 'http://c/api' (x@y), then http://f:1, failed"),
        # No credentials, whatever it looks like.
        ("http://host:5000/models/tile@champion", "http://host:5000/models/tile@champion"),
        ("sqlite:////home/x@y/ledger.db", "sqlite:////home/x@y/ledger.db"),
        ("models:/tile@champion", "models:/tile@champion"),
    ],
)  # fmt: skip
def test_a_text_tells_no_credentials(text: str, told: str) -> None:
    assert without_credentials(text) == told
    assert without_credentials(told) == told


def test_credentials_of_the_environment_serve_where_the_place_is_the_same() -> None:
    kept, given = "postgresql://h/d", "postgresql://u:hush@h/d"
    assert same_place(kept, given) and with_login(kept, given) == given
    assert with_login("postgresql://other/d", given) == "postgresql://other/d"
    assert with_login(None, given) == given and with_login(kept, None) == kept


def test_a_server_is_signed_in_to_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "before")
    assert signed_in("http://h:5000") == "http://h:5000"
    assert signed_in("postgresql://u:p@h/d") == "postgresql://u:p@h/d"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "before"
    assert signed_in("http://ad%40min:p%2Fw@h:5000") == "http://h:5000"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "ad@min"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "p/w"


def test_postgresql_has_the_driver_that_is_installed() -> None:
    assert with_driver("postgresql://h/d") == "postgresql+psycopg2://h/d"
    assert with_driver("postgres://h/d") == "postgresql+psycopg2://h/d"
    assert with_driver("postgresql+psycopg2://h/d") == "postgresql+psycopg2://h/d"
    assert with_driver("sqlite:///x.db") == "sqlite:///x.db"


def test_no_proxy_is_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.request import proxy_bypass_environment

    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "corp.example")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    spare_loopback()
    for host in ("127.0.0.1:5000", "localhost", "corp.example"):
        assert proxy_bypass_environment(host), host
    assert not proxy_bypass_environment("elsewhere.example")


@pytest.mark.heavy
def test_planted_secrets_are_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A whole study with a password in its tracking URI, whose server is away."""
    secrets = ("hush-word", "hush-user", "hush-key")
    place = "http://127.0.0.1:9"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secrets[2])
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    monkeypatch.setattr("tuner.outcome.PATIENCE", 0.0)
    home = Home(tmp_path / "home")
    config = StudyConfig(
        name="planted", category="part", data=str(write_mvtec(tmp_path / "images")), size=(32, 32),
        methods=("filter-memory",), budget="1", engine="local", cpus_per_worker=1, export=False,
        tracking_uri=place.replace("//", f"//{secrets[1]}:{secrets[0]}@"),
    )  # fmt: skip
    with pytest.raises(RegistryError, match="go on with: tuner resume planted") as raised:
        launch(config, home)
    assert study_status("planted", home)["next"] == "tuner resume planted"
    said = "".join(capfd.readouterr()) + str(raised.value)
    assert place in said
    written = [path for path in tmp_path.joinpath("home").rglob("*") if path.is_file()]
    assert home.study("planted").config in written and home.study("planted").spool in written
    for secret in secrets:
        assert secret not in said
        for path in written:
            assert secret.encode() not in path.read_bytes(), path
    for path in written:
        assert path.stat().st_mode & 0o777 == 0o600, path
        assert path.parent.stat().st_mode & 0o777 == 0o700, path.parent
    # What was kept is the place; who may go there is asked of the environment.
    kept = read_config("planted", home)
    assert kept.tracking_uri == tracking_uri(kept, home) == place


def test_a_ledger_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "postgresql://hush-user:hush-word@127.0.0.1:9/d"
    config = StudyConfig(name="s", category="c", storage=address)
    config.write(tmp_path / "study.json")
    kept = StudyConfig.read(tmp_path / "study.json")
    assert kept.storage == "postgresql://127.0.0.1:9/d"
    monkeypatch.setenv("TUNER_STORAGE", address)
    assert ledger_url(kept, Home(tmp_path)) == address
    with pytest.raises(LedgerUnreachable, match="TUNER_STORAGE") as raised:
        Ledger.read(address, "s")
    assert "hush" not in str(raised.value)


def test_a_place_of_files_takes_no_keys() -> None:
    with pytest.raises(ValueError, match="AWS_ACCESS_KEY_ID"):
        StudyConfig(name="s", category="c", storage_path="s3://key:hush@bucket/studies")
