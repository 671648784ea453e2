"""MLflow's own scoring server for a packaged model: started, checked, and stopped as a whole."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.prediction.endpoint import MODEL
from tuner.registry.package import load_package
from tuner.registry.register import save_model
from tuner.server import DIRECT, awaited, last_words, started
from tuner.stopping import sigterm_as_interrupt

START_SECONDS = 120.0


class ServerFailed(RuntimeError):
    """The server did not start, or does not answer as it should."""


@dataclass(frozen=True)
class Served:
    """A server that has answered: where it is, what it said of one grey image, its process."""

    url: str
    answer: dict[str, Any]
    process: subprocess.Popen[bytes]


@contextmanager
def serving(folder: Path, host: str = "127.0.0.1", port: int = 5001) -> Iterator[Served]:
    """Serve the package in `folder` until the block ends, which ends every process of the server.

    It is checked first: `/ping` answers, and `/invocations` judges one grey image. Requests are
    what `tuner.prediction.endpoint` takes: files, base64, arrays. `port` 0 takes a free one.
    SIGTERM ends the block as Ctrl-C does. Raises ServerFailed with the server's own last words.
    """
    port = port or _free(host)
    if _taken(host, port):
        raise ServerFailed(f"port {port} of {host} is in use; choose another one by --port")
    packaged = load_package(folder, "cpu")
    with sigterm_as_interrupt(), tempfile.TemporaryDirectory(prefix="tuner-serve-") as scratch:
        model, log = Path(scratch) / "model", Path(scratch) / "server.log"
        save_model(folder, model, packaged)
        command = [sys.executable, "-m", "uvicorn", "--factory", "tuner.prediction.endpoint:create"]
        command += ["--host", host, "--port", str(port), "--log-level", "warning"]
        with started(command, {MODEL: str(model)}, log) as process:
            url = f"http://{host}:{port}"
            _wait(process, url, log)
            yield Served(url, _one_image(url, log), process)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    found = awaited(process, f"{url}/ping", START_SECONDS)
    if found == "ended":
        raise ServerFailed(f"the server ended at once: {last_words(log)}")
    if found == "silent":
        raise ServerFailed(
            f"the server does not answer {url}/ping within {START_SECONDS:g} s: {last_words(log)}"
        )


def ask(url: str, images: NDArray[np.uint8] | bytes) -> dict[str, Any]:
    """What a server says of images `[B, H, W, 3]`, or of the content of one file, as lists.

    Raises OSError where it does not answer, ValueError and KeyError where it says something else.
    """
    content, kind = images, "application/octet-stream"
    if not isinstance(images, bytes):
        content, kind = json.dumps({"inputs": images.tolist()}).encode(), "application/json"
    request = urllib.request.Request(f"{url}/invocations", content, {"Content-Type": kind})
    with DIRECT.open(request, timeout=60) as reply:
        return dict(json.load(reply)["predictions"])


def _one_image(url: str, log: Path) -> dict[str, Any]:
    try:
        return ask(url, np.full((1, 16, 16, 3), 128, np.uint8))
    except (OSError, ValueError, KeyError) as error:
        raise ServerFailed(
            f"the server does not judge an image ({error}): {last_words(log)}"
        ) from error


def _free(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
