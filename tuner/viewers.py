"""Other projects' pages on the stores of this one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from tuner.addresses import with_driver, without_credentials
from tuner.request import tracking_uri
from tuner.stopping import end_group, sigterm_as_interrupt
from tuner.study.config import ledger_url, read_config
from tuner.study.home import Home, private
from tuner.tracking import default_uri

_ADDRESS = "TUNER_VIEWED"


@private()
def view(home: Home, study: str | None, *, optuna: bool, host: str, port: int) -> int:
    """Run MLflow's page, or Optuna's dashboard, until it is stopped; returns its exit code.

    Raises ValueError for an unknown study, a store that has its own page already, or a dashboard
    that is not installed.
    """
    command, secrets = viewer(home, study, optuna=optuna, host=host, port=port)
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ, **secrets})
    try:
        with sigterm_as_interrupt():
            return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        end_group(process)


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
    store = {"MLFLOW_BACKEND_STORE_URI": with_driver(uri)}
    return [sys.executable, "-m", "mlflow", "ui", *address], store
