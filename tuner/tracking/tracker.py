"""The one writer of a study's runs to MLflow."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tuner import sqlite
from tuner.addresses import without_credentials
from tuner.tracking.delivery import Delivery
from tuner.tracking.outbox import NewRun, Outbox, joined, read_spool, write_spool
from tuner.tracking.store import (
    CredentialsRefused,
    Store,
    StoreDamaged,
    answers,
    credentials_refused,
    open_store,
    sqlite_path,
)
from tuner.tracking.values import clean_metrics, clean_params, clean_tags

Status = Literal["FINISHED", "KILLED", "FAILED"]

PROVISIONAL = "pending-"
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
METRICS_BEFORE_FLUSH = 5000

_log = logging.getLogger(__name__)


class Tracker:
    """Writes one parent run a study and one child run a trial, in batches.

    Made for the driver alone: one object, one thread. Nothing here raises because a store is away
    or refuses a value, but where it lets nobody in when a study starts. What could not be written
    waits (`pending`), is tried again at later flushes with growing pauses, and lies in the file
    `spool` until it is written. A tracker made later with the same spool writes it out. Writing
    twice does no harm: runs are found by their study and trial number.

    Run ids are MLflow's own, or provisional ones (`pending-...`) where the store was away when
    the run was started; every method takes both, `resolve` gives the real one.

    Args:
        uri: MLflow's tracking URI (`sqlite:///...`, `http://...`, `postgresql+psycopg2://...`).
        artifact_root: where a new experiment keeps files; None leaves that to the server.
        experiment: name of the experiment, made where missing.
        spool: file for what could not be written; None keeps it in memory only.
        opener: how to open the store; another one in tests.
        clock: monotonic seconds; another one in tests.
    """

    def __init__(
        self,
        uri: str,
        artifact_root: str | None = None,
        experiment: str = "tuner",
        *,
        spool: Path | None = None,
        opener: Callable[[str, str | None, str], Store] = open_store,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.uri = uri
        self.artifact_root = artifact_root
        self.experiment = experiment
        self.last_error: str | None = None
        self._locked_out = False
        self._damage: StoreDamaged | None = None
        self._spool = spool
        self._clock = clock
        self._delivery = Delivery(lambda: opener(uri, artifact_root, experiment))
        self._boxes: dict[str, Outbox] = {}
        self._ids: dict[str, str] = {}
        self._studies: dict[str, tuple[str, dict[str, str]]] = {}
        self._rungs: dict[str, int] = {}
        self._wait = 0.0
        self._next_try = 0.0
        if spool is not None:
            self._load_spool(spool)

    @property
    def place(self) -> str:
        """Where it writes, as it may be told: without credentials."""
        return without_credentials(self.uri)

    @property
    def pending(self) -> int:
        """How many values, files and states still wait to be written."""
        return sum(len(box) for box in self._boxes.values())

    @property
    def refused(self) -> int:
        """How many values the store would not take; they were dropped."""
        return self._delivery.refused

    def resolve(self, run_id: str) -> str | None:
        """MLflow's id of a run, or None while its store has not taken it yet."""
        return self._ids.get(run_id, None if run_id.startswith(PROVISIONAL) else run_id)

    def start_study(
        self,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, object],
        run_id: str | None = None,
    ) -> str:
        """Start, or go on with, the parent run of the study `name`.

        A study that has a run already gets that one again, so that a resumed study stays one run.
        Raises ValueError for a name with a quotation mark, which MLflow cannot search for,
        CredentialsRefused and StoreDamaged.
        """
        if not name or set(name) & set("'\"`\\\n"):
            raise ValueError(f"study name is {name!r}, but must be text without quotation marks")
        own = clean_tags(tags)
        handle = self._start(NewRun(name, None, None, run_id, _now(), own), params)
        self._studies[handle] = (name, own)
        self.flush()
        if self._locked_out:
            raise CredentialsRefused(self.uri)
        self.check()
        return self._ids.get(handle, handle)

    def check(self) -> None:
        """Raises StoreDamaged where no waiting will bring the store back."""
        if self._damage is not None:
            raise self._damage

    def start_trial(
        self,
        parent: str,
        number: int,
        tags: Mapping[str, str],
        params: Mapping[str, object],
        *,
        reopen: bool = True,
    ) -> str:
        """Start, or go on with, the child run of one trial; it carries the study's tags too.

        Without `reopen` a run that has ended is left so. Raises ValueError where `parent` was not
        started by this tracker.
        """
        known = self._studies.get(parent)
        if known is None:
            raise ValueError(f"run {parent} is no study of this tracker; call start_study first")
        name, inherited = known
        parent = self._ids.get(parent, parent)
        merged = {**inherited, **clean_tags(tags)}
        return self._start(NewRun(name, number, parent, None, _now(), merged, reopen), params)

    def statuses(self, parent: str) -> dict[int, str] | None:
        """How the runs of a study's trials stand in the store; None where it is away."""
        try:
            return self._delivery.statuses(self._studies[parent][0])
        except Exception as error:  # whatever a store throws must not end a study
            self._put_off(error)
            return None

    def steps(self, run_id: str, metric: str) -> set[int] | None:
        """At which steps a run has a metric, or will have; None where the store is away."""
        real = self.resolve(run_id)
        if real is None or not (self._due() and self._answers()):
            return None
        try:
            found = self._delivery.steps(real, metric)
        except Exception as error:  # whatever a store throws must not end a study
            self._put_off(error)
            return None
        return found | {step for name, _, _, step in self._box(run_id).metrics if name == metric}

    def log_rung(self, run_id: str, rung: int, metrics: Mapping[str, float]) -> None:
        """Keep numbers of one rung for the next flush; what is not finite is left out."""
        now, box = _now(), self._box(run_id)
        self._rungs[run_id] = rung
        box.metrics += [(k, v, now, rung) for k, v in clean_metrics(metrics).items()]
        if len(box.metrics) >= METRICS_BEFORE_FLUSH:
            self.flush()

    def log_series(self, run_id: str, points: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Keep numbers by a step of their own, such as the training step, for the next flush."""
        now, box = _now(), self._box(run_id)
        for step, metrics in points:
            box.metrics += [(k, v, now, step) for k, v in clean_metrics(metrics).items()]

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Keep tags of a run, one that has ended too, for the next flush."""
        self._box(run_id).tags.update(clean_tags(tags))

    def log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        """Keep parameters that are known late for the next flush."""
        self._box(run_id).params.update(clean_params(params))

    def log_dataset(
        self, run_id: str, name: str, digest: str, source: str, profile: Mapping[str, object]
    ) -> None:
        """Keep which data a run is about for the next flush. `digest` has at most 36 characters,
        `source` is where the data lie, `profile` what is known of them."""
        kind = "s3" if source.startswith("s3://") else "local"
        fields = {"name": name, "digest": digest, "source_type": kind}
        fields |= {"source": json.dumps({"uri": source}), "profile": json.dumps(dict(profile))}
        self._box(run_id).datasets.append(fields)

    def finish_trial(
        self,
        run_id: str,
        status: Status,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        """End a trial's run; its final numbers are kept at its last rung."""
        self._finish(run_id, status, metrics, tags)

    def finish_study(
        self,
        run_id: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        status: Status = "FINISHED",
    ) -> None:
        """End the parent run of a study."""
        self._finish(run_id, status, metrics, tags)

    def log_artifacts(self, run_id: str, folder: Path, artifact_path: str | None = None) -> None:
        """Copy a folder's files to a run. The folder must stay until `pending` is 0."""
        self._box(run_id).folders.append((str(folder.resolve()), artifact_path))
        self.flush()

    def flush(self, force: bool = False) -> bool:
        """Try to write what waits; False where something still does.

        After a fault nothing is tried until a pause is over (1 s, doubling to 60 s), unless
        `force` is set.
        """
        if self.pending and (force or self._due()) and self._answers():
            while self._boxes:
                handle = next(iter(self._boxes))
                try:
                    self._deliver(handle)
                except Exception as error:  # whatever a store throws must not end a study
                    self._put_off(error)
                    self._to_the_back(handle)
                    return False
            self._wait = self._next_try = 0.0
            self._save_spool()
        return not self.pending

    def wait(self, seconds: float) -> bool:
        """Try until all is written; False where something still waits after so many seconds."""
        end = self._clock() + seconds
        while not self.flush(force=True) and self._clock() < end and self._damage is None:
            time.sleep(FIRST_WAIT)
        return not self.pending

    def close(self) -> int:
        """Last try; returns how much is left, which then lies in the spool."""
        self.flush(force=True)
        self._save_spool()
        return self.pending

    def _start(self, new: NewRun, params: Mapping[str, object]) -> str:
        handle = PROVISIONAL + uuid.uuid4().hex
        self._boxes[handle] = Outbox(new=new, params=clean_params(params))
        if self._due() and self._answers():
            try:
                self._place(handle)
            except Exception as error:  # whatever a store throws must not end a study
                self._put_off(error)
        return self._ids.get(handle, handle)

    def _finish(
        self, run_id: str, status: Status, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        box, now = self._box(run_id), _now()
        rung = self._rungs.pop(run_id, 0)
        box.metrics += [(k, v, now, rung) for k, v in clean_metrics(metrics).items()]
        box.tags.update(clean_tags(tags))
        box.end = (status, now)
        self.flush()

    def _box(self, run_id: str) -> Outbox:
        return self._boxes.setdefault(self._ids.get(run_id, run_id), Outbox())

    def _deliver(self, handle: str) -> None:
        if self._boxes[handle].new is not None:
            handle = self._place(handle)
        self._delivery.send(handle, self._boxes[handle])
        del self._boxes[handle]

    def _to_the_back(self, handle: str) -> None:
        """What cannot be written (a file store that is away) must not hold up other runs."""
        run_id = self._ids.get(handle, handle)
        if run_id in self._boxes:
            self._boxes[run_id] = self._boxes.pop(run_id)

    def _place(self, handle: str) -> str:
        """Find or make the run of a provisional id and move its box under the real one."""
        box = self._boxes[handle]
        new = box.new
        assert new is not None
        if new.parent is not None and new.parent.startswith(PROVISIONAL):
            new.parent = self._place(new.parent)
        run_id, existed = self._delivery.find_or_make(new)
        del self._boxes[handle]
        tags = {**new.tags, **box.tags} if existed else box.tags
        rest = replace(box, new=None, tags=tags)
        self._boxes[run_id] = joined(self._boxes.get(run_id), rest)
        self._ids[handle] = run_id
        if new.number is None:
            self._studies[run_id] = (new.study, new.tags)
            for other in self._boxes.values():
                if other.new is not None and other.new.parent == handle:
                    other.new.parent = run_id
        return run_id

    def _due(self) -> bool:
        return self._clock() >= self._next_try

    def _answers(self) -> bool:
        """Whether a store that was away is back; asked in short, because its client is patient and
        the study would stand still meanwhile."""
        if self._wait and not answers(self.uri):
            self._put_off(ConnectionError(f"{self.place} does not answer"))
            return False
        return True

    def _put_off(self, error: Exception) -> None:
        said = without_credentials(f"{type(error).__name__}: {error}")
        self.last_error = said.splitlines()[0][:300]
        self._locked_out = credentials_refused(error)
        self._damage = error if isinstance(error, StoreDamaged) else None
        if self._damage is None and sqlite.damaged(error):
            self._damage = StoreDamaged(sqlite_path(self.uri) or self.place, "as SQLite says")
        if self._wait == 0.0 and self._damage is None:
            _log.warning("tracking store %s is away, results wait: %s", self.place, self.last_error)
        self._wait = min(max(2 * self._wait, FIRST_WAIT), LONGEST_WAIT)
        self._next_try = self._clock() + self._wait
        self._delivery.forget()
        self._save_spool()

    def _load_spool(self, spool: Path) -> None:
        try:
            self._boxes = read_spool(spool)
        except ValueError as error:
            aside = spool.with_name(spool.name + ".broken")
            spool.replace(aside)
            _log.warning("%s; moved to %s", error, aside)

    def _save_spool(self) -> None:
        if self._spool is None:
            return
        try:
            write_spool(self._spool, self._boxes)
        except OSError as error:
            _log.warning("cannot write %s: %s", self._spool, error)


def _now() -> int:
    return time.time_ns() // 1_000_000
