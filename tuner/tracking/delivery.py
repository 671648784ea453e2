"""Writing one run's outbox to an open MLflow store, in as few requests as its limits allow."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tuner.tracking.outbox import NewRun, Outbox
from tuner.tracking.store import Store, refused
from tuner.tracking.values import METRICS_PER_BATCH, PARAMS_PER_BATCH, TAGS_PER_BATCH

STUDY_TAG = "tuner.study"
TRIAL_TAG = "tuner.trial"
PARENT_TAG = "mlflow.parentRunId"

_log = logging.getLogger(__name__)


class Delivery:
    """Finds, makes and fills runs. What the store refuses for good is dropped and counted in
    `refused`; any other fault is raised, and leaves the outbox with what is still to be sent.
    """

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self.refused = 0
        self._open_store = open_store
        self._store: Store | None = None
        self._children: dict[str, dict[int, str]] = {}

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def forget(self) -> None:
        """After a fault: a run may have been made although the answer was lost, so look again."""
        self._children.clear()

    def find_or_make(self, new: NewRun) -> tuple[str, bool]:
        """Run id, and whether it was there before."""
        found = self._find(new)
        if found is None:
            return self._make(new), False
        if new.reopen:
            self.store.client.update_run(found, status="RUNNING")
        return found, True

    def statuses(self, study: str) -> dict[int, str]:
        """How the runs of a study's trials stand, by trial number."""
        runs = _study_runs(self.store, study)
        by_id = {str(run.info.run_id): str(run.info.status) for run in runs}
        return {number: by_id[run_id] for number, run_id in _trial_runs(runs).items()}

    def steps(self, run_id: str, metric: str) -> set[int]:
        """At which steps a run has a metric."""
        return {point.step for point in self.store.client.get_metric_history(run_id, metric)}

    def send(self, run_id: str, box: Outbox) -> None:
        """Write everything in a box, emptying it on the way."""
        client = self.store.client
        self._send_values(client, run_id, box)
        while box.datasets:
            self._send_dataset(client, run_id, box.datasets[0])
            box.datasets.pop(0)
        while box.folders:
            self._send_folder(client, run_id, *box.folders[0])
            box.folders.pop(0)
        if box.end is not None:
            status, end_ms = box.end
            self._attempt(run_id, partial(client.set_terminated, run_id, status, end_time=end_ms))
            box.end = None

    def _find(self, new: NewRun) -> str | None:
        if new.number is None:
            runs = _study_runs(self.store, new.study)
            self._children[new.study] = _trial_runs(runs)
            parents = [r for r in runs if TRIAL_TAG not in r.data.tags]
            named = [r for r in parents if r.info.run_id == new.run_id]
            oldest = sorted(parents, key=lambda r: r.info.start_time)
            return next((str(r.info.run_id) for r in named + oldest), None)
        if new.study not in self._children:
            self._children[new.study] = _trial_runs(_study_runs(self.store, new.study))
        return self._children[new.study].get(new.number)

    def _make(self, new: NewRun) -> str:
        tags = {**new.tags, STUDY_TAG: new.study}
        tags |= {"mlflow.source.name": "tuner", "mlflow.source.type": "LOCAL"}
        run_name = new.study
        if new.number is not None:
            tags |= {TRIAL_TAG: str(new.number), PARENT_TAG: str(new.parent)}
            run_name = f"{new.study} trial {new.number}"
        run = self.store.client.create_run(
            self.store.experiment_id, start_time=new.start_ms, tags=tags, run_name=run_name
        )
        run_id = str(run.info.run_id)
        if new.number is not None:
            self._children[new.study][new.number] = run_id
        return run_id

    def _send_values(self, client: Any, run_id: str, box: Outbox) -> None:
        from mlflow.entities import Metric, Param, RunTag

        while box.metrics or box.params or box.tags:
            points = box.metrics[:METRICS_PER_BATCH]
            params = dict(itertools.islice(box.params.items(), PARAMS_PER_BATCH))
            tags = dict(itertools.islice(box.tags.items(), TAGS_PER_BATCH))
            lists = (
                [Metric(*point) for point in points],
                [Param(*item) for item in params.items()],
                [RunTag(*item) for item in tags.items()],
            )
            try:
                client.log_batch(run_id, *lists)
            except Exception as error:
                if not refused(error):
                    raise
                self._send_singly(client, run_id, lists)
            box.metrics = box.metrics[len(points) :]
            box.params = {k: v for k, v in box.params.items() if k not in params}
            box.tags = {k: v for k, v in box.tags.items() if k not in tags}

    def _send_singly(self, client: Any, run_id: str, lists: tuple[list[Any], ...]) -> None:
        """One bad value spoils a batch: write the others and drop what is refused alone."""
        for place, items in enumerate(lists):
            for item in items:
                batch: list[list[Any]] = [[], [], []]
                batch[place] = [item]
                self._attempt(run_id, partial(client.log_batch, run_id, *batch))

    def _send_dataset(self, client: Any, run_id: str, dataset: dict[str, str]) -> None:
        """MLflow keeps a data set that a run has already once."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        tags = [InputTag("mlflow.data.context", "training")]
        given = [DatasetInput(Dataset(**dataset), tags)]
        self._attempt(run_id, partial(client.log_inputs, run_id, given))

    def _send_folder(
        self, client: Any, run_id: str, folder: str, artifact_path: str | None
    ) -> None:
        if not Path(folder).is_dir():
            self.refused += 1
            _log.warning("the folder %s is gone; its files are not tracked", folder)
            return
        self._attempt(run_id, partial(client.log_artifacts, run_id, folder, artifact_path))

    def _attempt(self, run_id: str, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as error:
            if not refused(error):
                raise
            self.refused += 1
            _log.warning("run %s: the tracking store refuses a value: %s", run_id, error)


def _study_runs(store: Store, study: str) -> list[Any]:
    """All runs of a study, by pages."""
    runs: list[Any] = []
    token = None
    while True:
        page = store.client.search_runs(
            [store.experiment_id],
            filter_string=f"tags.`{STUDY_TAG}` = '{study}'",
            max_results=1000,
            page_token=token,
        )
        runs += page
        token = page.token
        if not token:
            return runs


def _trial_runs(runs: list[Any]) -> dict[int, str]:
    """Run ids by trial number; of several runs of one trial, the oldest."""
    newest_first = sorted(runs, key=lambda r: -r.info.start_time)
    return {
        int(r.data.tags[TRIAL_TAG]): str(r.info.run_id)
        for r in newest_first
        if TRIAL_TAG in r.data.tags
    }
