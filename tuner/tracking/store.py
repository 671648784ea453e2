"""Opening an MLflow store: quietly, once, and safely beside other processes."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner import sqlite
from tuner.addresses import (
    local_path,
    spare_loopback,
    sqlite_path,
    sqlite_url,
    with_driver,
    without_credentials,
)
from tuner.postgres import bound_waits

LOCK_SECONDS = 120.0
PROBE_SECONDS = 3.0
DATABASE_RETRIES = 3
"""With pauses of 0.1 to 0.7 s between."""

# MLflow's own answer to a server that is away is to retry for minutes inside one call; the driver
# of a study must not stand still for that long. Its usage telemetry has no place in a factory.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "PGCONNECT_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

_ARTIFACTS = "artifacts"
# Where MLflow's tables hold places of files.
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)

# These codes mean that the same request will be refused again; any other fault may pass.
_REFUSALS = frozenset(
    {
        "BAD_REQUEST",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
    }
)


@dataclass(frozen=True)
class Store:
    """An open MLflow store and the experiment that studies go to."""

    client: Any
    experiment_id: str


def default_uri(home: Path) -> str:
    """The SQLite store under the folder that holds all state of this machine."""
    return sqlite_url(home.resolve() / "mlflow.db")


def default_artifacts(home: Path) -> str:
    return (home.resolve() / _ARTIFACTS).as_uri()


def artifacts_of(uri: str) -> str | None:
    """Where runs keep their files: beside an SQLite database, whatever folder the process is in.
    None where the store decides by itself, as a server and a folder of files do."""
    path = sqlite_path(uri)
    return None if path is None else default_artifacts(path.parent)


def refused(error: BaseException) -> bool:
    """Whether the store answered and will not take this, as opposed to being away."""
    return getattr(error, "error_code", None) in _REFUSALS


class CredentialsRefused(ValueError):
    """A store that answers, but not to this user."""

    def __init__(self, uri: str) -> None:
        place = without_credentials(uri)
        super().__init__(
            f"{place} does not accept the credentials; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN) of a user who may do this"
        )


class StoreDamaged(ValueError):
    """A store whose file is no whole database."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(
            f"the tracking store {path} is damaged ({reason}); restore it from a backup, or move "
            "it away: what the ledger knows of a study is then written into a new one, which has "
            "no registered models"
        )


def credentials_refused(error: BaseException | None) -> bool:
    """Whether a store does not accept who asks."""
    if getattr(error, "error_code", None) in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return True
    # An answer that is no JSON has its code in the text alone.
    return any(f"error code {code} " in str(error) for code in (401, 403))


def error_code(error: BaseException) -> str:
    return str(getattr(error, "error_code", "") or type(error).__name__)


def quiet_mlflow() -> Any:
    """Import mlflow (2.5 s the first time) with its chatter off, and return the module."""
    spare_loopback()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It prints a trace for every fault of a database, before raising what we handle.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return mlflow


def answers(uri: str) -> bool:
    """Whether a server says anything at all within seconds; true of what is no server."""
    if not uri.startswith(("http://", "https://")):
        return True
    import requests

    spare_loopback()
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=PROBE_SECONDS, allow_redirects=False)
    except requests.RequestException:
        return False
    return True


@contextlib.contextmanager
def database_lock(uri: str) -> Iterator[None]:
    """Hold the lock file beside an SQLite database; nothing to hold for any other store."""
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
        yield


def make_client(uri: str) -> Any:
    """A client with explicit stores; the process's active run and global store stay untouched."""
    mlflow = quiet_mlflow()
    path = sqlite_path(uri)
    if path is not None and (wrong := sqlite.damage(path)):
        raise StoreDamaged(path, wrong)
    if not uri.startswith(("http://", "https://")):
        from mlflow.store.db import utils

        # As with a server: its own answer to a database that is away is to retry for minutes.
        utils.MAX_RETRY_COUNT = DATABASE_RETRIES
        bound_waits()
    uri = with_driver(uri)
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def open_store(uri: str, artifact_root: str | None, experiment: str) -> Store:
    """Open the store, making its tables and the experiment where they are missing.

    MLflow makes the tables of an SQLite file when it is first used, and two processes doing that
    at once break each other: hence the lock.
    """
    with database_lock(uri):
        client = make_client(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return Store(client, _create_experiment(client, artifact_root, experiment))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        if artifact_root is not None:
            _follow_home(uri, found.artifact_location, artifact_root, experiment)
        return Store(client, found.experiment_id)


def beside(uri: str, location: str) -> Path | None:
    """Where files of an SQLite store lie now, if not at the location that the store has for them:
    its home may have been moved. None where they are not beside the database either."""
    path, parts = sqlite_path(uri), (local_path(location) or Path()).parts
    if path is None:
        return None
    root = path.parent / _ARTIFACTS
    places = (root.joinpath(*parts[at + 1 :]) for at, p in enumerate(parts) if p == _ARTIFACTS)
    return next((place for place in places if place.is_dir()), None)


def _follow_home(uri: str, known: str, artifact_root: str, experiment: str) -> None:
    """Where a home was moved with all its files, let its store know: MLflow keeps absolute paths,
    and would write to, and read from, where the home was before."""
    before, ending = known.removesuffix(f"/{experiment}"), f"/{_ARTIFACTS}"
    now, path = local_path(artifact_root), sqlite_path(uri)
    moved = before != artifact_root and before.endswith(ending) and known != before
    if not moved or path is None or now is None or not now.is_dir() or local_path(known) is None:
        return
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as database, database:
        for table, column in _LOCATIONS:
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE substr({column}, 1, ?) = ?",
                (f"{artifact_root}/", len(before) + 2, len(before) + 1, f"{before}/"),
            )


def _create_experiment(client: Any, artifact_root: str | None, experiment: str) -> str:
    location = f"{artifact_root.rstrip('/')}/{experiment}" if artifact_root else None
    try:
        return str(client.create_experiment(experiment, artifact_location=location))
    except Exception as error:
        if error_code(error) != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(client.get_experiment_by_name(experiment).experiment_id)
