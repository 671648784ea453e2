"""Other projects' pages on the stores of this one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from tuner.addresses import sqlite_path, with_driver, without_credentials
from tuner.request import tracking_uri
from tuner.server import awaited, last_words, started
from tuner.stopping import sigterm_as_interrupt
from tuner.study.config import ledger_url, read_config
from tuner.study.home import Home, private
from tuner.tracking import artifacts_of, default_uri
from tuner.tracking.delivery import STUDY_TAG
from tuner.tracking.store import open_store

START_SECONDS = 180.0
EXPERIMENT = "tuner"

_ADDRESS = "TUNER_VIEWED"
# One process that answers; MLflow's own workers for jobs of language models have nothing to do.
_QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


class ViewerFailed(RuntimeError):
    """A page did not come up; the last words of its server."""


@private()
def view(
    home: Home,
    study: str | None,
    *,
    optuna: bool,
    host: str,
    port: int,
    told: Callable[[str], None] = lambda url: None,
) -> int:
    """Run MLflow's page, or Optuna's dashboard, until it is stopped; returns its exit code.

    `told` is called with the address of the studies' runs once that answers. Raises ValueError for
    an unknown study, a store that has its own page already, or a dashboard that is not installed;
    ViewerFailed where the page does not come up.
    """
    command, secrets = viewer(home, study, optuna=optuna, host=host, port=port)
    with tempfile.TemporaryDirectory(prefix="tuner-ui-") as scratch:
        log = Path(scratch) / "server.log"
        try:
            with started(command, secrets, log) as process, sigterm_as_interrupt():
                page = "" if optuna else runs_page(home, study)
                url = f"http://{host}:{port}"
                _wait(process, url, log)
                told(url + page)
                return process.wait()
        except KeyboardInterrupt:
            return 0


def runs_page(home: Home, study: str | None) -> str:
    """Where MLflow shows the runs of all studies, or those of one, below its own address."""
    config = None if study is None else read_config(study, home)
    uri = default_uri(home.path) if config is None else tracking_uri(config, home)
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        return ""
    # Opening it as a study does lets a store know where its home was moved to.
    store = open_store(uri, artifacts_of(uri), EXPERIMENT)
    # Without the type MLflow shows what it has for language models.
    page = f"/#/experiments/{store.experiment_id}/runs?workflowType=machine_learning"
    wanted = "" if study is None else f"tags.`{STUDY_TAG}` = '{study}'"
    return page + (f"&searchFilter={quote(wanted)}" if wanted else "")


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    found = awaited(process, url, START_SECONDS, any_status=True)
    if found == "ended":
        raise ViewerFailed(
            f"the page ended at once: {last_words(log)}; where the port is in use, give another "
            "one by --port"
        )
    if found == "silent":
        raise ViewerFailed(f"nothing answers at {url} within {START_SECONDS:g} s")


def viewer(
    home: Home, study: str | None, *, optuna: bool, host: str, port: int
) -> tuple[list[str], dict[str, str]]:
    """The command that `view` runs, and what goes into its environment: an address may hold a
    password, and everybody on a machine sees command lines."""
    config = None if study is None else read_config(study, home)
    address = ["--host", host, "--port", str(port)]
    if optuna:
        if importlib.util.find_spec("optuna_dashboard") is None:
            raise ValueError(
                "Optuna's dashboard is not installed; add it by: pip install 'tuner[dashboard]'"
            )
        url = home.ledger_url if config is None else ledger_url(config, home)
        script = (
            "import os, sys; from optuna_dashboard._cli import main; "
            f"sys.argv.append(os.environ[{_ADDRESS!r}]); main()"
        )
        return [sys.executable, "-c", script, *address], {_ADDRESS: with_driver(url)}
    uri = default_uri(home.path) if config is None else tracking_uri(config, home)
    if uri.startswith(("http://", "https://")):
        place = without_credentials(uri)
        raise ValueError(f"the tracking store is a server with a page of its own: open {place}")
    store = {"MLFLOW_BACKEND_STORE_URI": with_driver(uri), **_QUIET}
    lean = ["--workers", "1", "--uvicorn-opts", "--log-level warning"]
    return [sys.executable, "-m", "mlflow", "ui", *address, *lean], store
