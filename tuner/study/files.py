"""The folder of one trial: its last checkpoint, its detector, its scores, its records."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tuner.study.causes import causes
from tuner.study.depot import Depot, DepotError

Record = dict[str, Any]

# Before a criterion's name: its S values over the scoring grid, among the kept scores.
CRITERION_PREFIX = "criterion:"


# What makes a rung whole comes last.
JUDGED = ("detector.safetensors", "scores.npz", "rungs.jsonl")
RESUMED = ("checkpoint.pt", *JUDGED)


class Unkept(RuntimeError):
    """The files of a trial can be written nowhere: no fault of the trial's."""


@dataclass
class TrialFiles:
    """The folder of one trial. Every write is whole: a temporary file, then a rename.

    With a `depot` each rung is copied there before it counts as kept. A process that was thought
    dead, and comes back with a rung that is old by now, changes nothing.
    """

    path: Path
    depot: str = ""

    @property
    def detector(self) -> Path:
        """The file of its detector's weights."""
        return self.path / "detector.safetensors"

    def records(self) -> list[Record]:
        file = self.path / "rungs.jsonl"
        if not file.is_file():
            return []
        return [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]

    def checkpoint(self) -> dict[str, Any] | None:
        file = self.path / "checkpoint.pt"
        return torch.load(file, weights_only=True) if file.is_file() else None

    def keep(
        self,
        record: Record,
        state: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        scores: Mapping[str, np.ndarray],
    ) -> None:
        """Keep one rung. The checkpoint goes last: what it names is there already.

        Raises Unkept where there is no room, or no access.
        """
        known = self.records()
        if known and known[-1]["rung"] > record["rung"]:
            return
        with self._explained():
            self.path.mkdir(parents=True, exist_ok=True)
        arrays = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        self._replace(self.detector.name, lambda p: save_file(arrays, p))
        kept: dict[str, Any] = dict(scores)
        self._replace("scores.npz", lambda p: np.savez(p, **kept))
        lines = {line["rung"]: json.dumps(line) + "\n" for line in [*known, record]}
        self._replace("rungs.jsonl", lambda p: p.write_text("".join(lines.values())))
        self._replace("checkpoint.pt", lambda p: _save(dict(state), p))
        if self.depot:
            with self._explained():
                Depot(self.depot).put(self.path, int(record["rung"]), RESUMED)

    def take_over(self) -> None:
        """Get the newest rung from the depot, whichever machine wrote it. Raises Unkept."""
        if self.depot:
            with self._explained():
                Depot(self.depot).get(self.path, RESUMED)

    def clear(self) -> None:
        """Drop what an earlier trial of the same number left here."""
        with self._explained():
            for name in RESUMED:
                (self.path / name).unlink(missing_ok=True)

    def collect(self, rung: int) -> None:
        """Get what is judged and packaged from the depot, where this machine lacks the rung."""
        known = self.records()
        if self.depot and (not known or known[-1]["rung"] < rung):
            Depot(self.depot).get(self.path, JUDGED)

    def forget_checkpoint(self) -> None:
        (self.path / "checkpoint.pt").unlink(missing_ok=True)

    def weights(self) -> dict[str, Tensor]:
        return load_file(self.detector)

    def scores(self) -> dict[str, np.ndarray]:
        with np.load(self.path / "scores.npz") as file:
            return {name: file[name] for name in file.files}

    def own_scores(self) -> np.ndarray:
        """The unlabelled batch under the setting that was chosen: float64 `[M]`. Raises
        FileNotFoundError where no rung was kept."""
        kept = self.scores()
        return np.asarray(kept["test"][int(kept["setting"])], dtype=np.float64)

    def _replace(self, name: str, write: Callable[[Path], object]) -> None:
        temporary = self.path / f".{os.getpid()}-{name}"
        try:
            with self._explained():
                write(temporary)
                temporary.replace(self.path / name)
        finally:
            # What was half-written takes room that there may be none of.
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DepotError as error:
            raise Unkept(f"{error}; check that the store is there and has room") from None
        except (OSError, RuntimeError, SafetensorError) as error:
            raise Unkept(
                f"the files of trials cannot be written to {self.path} ({_reason(error)}); make "
                f"room there (see: df {self.path}), or check its rights"
            ) from None


def _save(state: dict[str, Any], path: Path) -> None:
    # Given a path, the library writes by itself, and its errors do not say that the disk is full.
    with path.open("wb") as file:
        torch.save(state, file)


def _reason(error: BaseException) -> str:
    """The system's own words where they are among the causes; libraries have others."""
    for found in causes(error):
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
