"""Other projects' pages on the stores of this one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from tuner.request import tracking_uri
from tuner.stopping import end_group, sigterm_as_interrupt
from tuner.study.config import ledger_url, read_config
from tuner.study.home import Home
from tuner.tracking import default_uri


def view(home: Home, study: str | None, *, optuna: bool, host: str, port: int) -> int:
    """Run MLflow's page, or Optuna's dashboard, until it is stopped; returns its exit code.

    Raises ValueError for an unknown study, a store that has its own page already, or a dashboard
    that is not installed.
    """
    command = viewer(home, study, optuna=optuna, host=host, port=port)
    process = subprocess.Popen(command, start_new_session=True)
    try:
        with sigterm_as_interrupt():
            return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        end_group(process)


def viewer(home: Home, study: str | None, *, optuna: bool, host: str, port: int) -> list[str]:
    """The command that `view` runs."""
    config = None if study is None else read_config(study, home)
    address = ["--host", host, "--port", str(port)]
    if optuna:
        if importlib.util.find_spec("optuna_dashboard") is None:
            raise ValueError(
                "Optuna's dashboard is not installed; add it by: pip install 'tuner[dashboard]'"
            )
        url = home.ledger_url if config is None else ledger_url(config, home)
        script = "from optuna_dashboard._cli import main; main()"
        return [sys.executable, "-c", script, url, *address]
    uri = default_uri(home.path) if config is None else tracking_uri(config, home)
    if uri.startswith(("http://", "https://")):
        raise ValueError(f"the tracking store is a server with a page of its own: open {uri}")
    return [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, *address]
