"""The folder of one trial: its last checkpoint, its detector, its scores, its records."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tuner.study.causes import causes
from tuner.study.depot import Depot, DepotError

Record = dict[str, Any]

# Before a criterion's name: its S values over the scoring grid, among the kept scores.
CRITERION_PREFIX = "criterion:"


# What makes a rung whole comes last.
CHECKPOINT, SCORES = "checkpoint.pt", "scores.npz"
JUDGED = ("detector.safetensors", SCORES, "rungs.jsonl")
RESUMED = (CHECKPOINT, *JUDGED)

# A digest of what follows, and of the tensors in a file of weights: disks lose and flip bytes.
_MARK, _DIGEST, _WEIGHTS_DIGEST = b"tuner-checkpoint-1\n", 32, "digest"


class FilesLost(RuntimeError):
    """A file of a trial is missing, or is not what was written."""

    def __init__(self, file: Path, reason: object) -> None:
        missing = isinstance(reason, FileNotFoundError)
        super().__init__(f"{file} is {'gone' if missing else f'damaged ({reason})'}")
        self.file = file


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
        """The rungs whose lines are whole."""
        try:
            lines = (self.path / "rungs.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [record for record in map(_record, lines) if record is not None]

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a file of one, whole or not."""
        return (self.path / CHECKPOINT).is_file()

    def checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint; None where there is none. One that is not what was written counts
        as none."""
        try:
            content = (self.path / CHECKPOINT).read_bytes()
        except FileNotFoundError:
            return None
        mark = len(_MARK) + _DIGEST
        if content.startswith(_MARK):
            kept, content = content[len(_MARK) : mark], content[mark:]
            if kept != _digest(content):
                return None
        try:
            return dict(torch.load(io.BytesIO(content), weights_only=True))
        except Exception:
            # Made before checkpoints had a digest: whatever the library makes of a broken one.
            return None

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
        self.keep_weights(weights)
        self.keep_scores(scores)
        lines = {line["rung"]: _line(line) for line in [*known, record]}
        self._replace("rungs.jsonl", lambda p: p.write_text("".join(lines.values())))
        self._replace(CHECKPOINT, lambda p: _save(dict(state), p))
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

    def lost(self) -> list[FilesLost]:
        """What is missing or damaged of what a judged trial keeps."""
        found = []
        for look in (self.weights, self.scores):
            try:
                look()
            except FilesLost as error:
                found.append(error)
        return found

    def fetch(self) -> bool:
        """Get what is judged and packaged from the depot, whatever lies here; False where nothing
        is there. Raises DepotError."""
        return bool(self.depot and Depot(self.depot).get(self.path, JUDGED))

    def forget_checkpoint(self) -> None:
        (self.path / CHECKPOINT).unlink(missing_ok=True)

    def weights(self) -> dict[str, Tensor]:
        """Raises FilesLost."""
        try:
            with safe_open(self.detector, "pt") as file:
                wanted = (file.metadata() or {}).get(_WEIGHTS_DIGEST)
            found = load_file(self.detector)
        except (OSError, SafetensorError) as error:
            raise FilesLost(self.detector, error) from None
        if wanted not in (None, _digest_of(found)):
            raise FilesLost(self.detector, "its digest is another one")
        return found

    def scores(self) -> dict[str, np.ndarray]:
        """Raises FilesLost."""
        file = self.path / SCORES
        try:
            with np.load(file) as kept:
                return {name: kept[name] for name in kept.files}
        except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error) as error:
            raise FilesLost(file, error) from None

    def keep_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Raises Unkept."""
        with self._explained():
            self.path.mkdir(parents=True, exist_ok=True)
        arrays = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        marks = {_WEIGHTS_DIGEST: _digest_of(arrays)}
        self._replace(self.detector.name, lambda p: save_file(arrays, p, marks))

    def keep_scores(self, scores: Mapping[str, np.ndarray]) -> None:
        """Raises Unkept."""
        kept: dict[str, Any] = dict(scores)
        self._replace(SCORES, lambda p: np.savez(p, **kept))

    def own_scores(self) -> np.ndarray:
        """The unlabelled batch under the setting that was chosen: float64 `[M]`. Raises
        FilesLost where no rung was kept."""
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
    content = io.BytesIO()
    torch.save(state, content)
    path.write_bytes(_MARK + _digest(content.getbuffer()) + content.getbuffer())


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()


def _digest_of(weights: Mapping[str, Tensor]) -> str:
    found = hashlib.blake2b(digest_size=_DIGEST)
    for name in sorted(weights):
        found.update(f"{name} {weights[name].dtype} {tuple(weights[name].shape)}".encode())
        found.update(weights[name].flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _line(record: Record) -> str:
    """A record as a line, with a digest of its own."""
    text = json.dumps(record)
    return json.dumps({**record, "digest": _digest(text.encode()).hex()[:16]}) + "\n"


def _record(line: bytes) -> Record | None:
    """The record of a line; None where the line is not what was written."""
    try:
        record = json.loads(line)
        digest = record.pop("digest", None)
        whole = digest in (None, _digest(json.dumps(record).encode()).hex()[:16])
        return record if whole and isinstance(record["rung"], int) else None
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def _reason(error: BaseException) -> str:
    """The system's own words where they are among the causes; libraries have others."""
    for found in causes(error):
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
