"""An MLflow server as a process, which is stopped and started again on the same port."""

from __future__ import annotations

import os
import shutil
import socket
import urllib.request
from pathlib import Path

from tests.faults.drivers import Driver, Garage, wait_for


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start_mlflow(garage: Garage, folder: Path, port: int) -> Driver:
    """As `mlflow server` does it, without a second start of Python."""
    if not folder.is_dir():
        folder.mkdir()
        shutil.copy(garage.folder / "mlflow.db", folder)
    server = garage.run(_serve, str(folder), port, home=folder)
    wait_for(lambda: _answers(f"http://127.0.0.1:{port}/health"), server)
    return server


def _serve(folder: str, port: int) -> None:
    import uvicorn
    from mlflow.server import constants

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = f"sqlite:///{folder}/mlflow.db"
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = f"{folder}/artifacts"
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    uvicorn.run("mlflow.server.fastapi_app:app", host="127.0.0.1", port=port, log_level="warning")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
