"""A client that keeps what it is given, and that can be away or refuse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tuner.tracking.store import Store


class Refusal(Exception):
    error_code = "INVALID_PARAMETER_VALUE"


class Page(list):
    token = None


class FakeClient:
    def __init__(self) -> None:
        self.away = False
        self.lose_answer = False
        self.refuse_params: set[str] = set()
        self.files_away = False
        self.calls: list[str] = []
        self.runs: dict[str, dict[str, Any]] = {}

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.away:
            raise ConnectionError("connection refused")

    def search_runs(self, experiments, filter_string, max_results, page_token):
        self._call("search_runs")
        study = filter_string.split("'")[1]
        return Page(
            SimpleNamespace(
                info=SimpleNamespace(run_id=run_id, start_time=run["start"], status=run["status"]),
                data=SimpleNamespace(tags=run["tags"]),
            )
            for run_id, run in self.runs.items()
            if run["tags"]["tuner.study"] == study
        )

    def create_run(self, experiment_id, start_time, tags, run_name):
        self._call("create_run")
        run_id = f"run{len(self.runs)}"
        self.runs[run_id] = {
            "start": start_time,
            "tags": dict(tags),
            "metrics": [],
            "params": {},
            "status": "RUNNING",
            "files": [],
            "inputs": [],
            "name": run_name,
        }
        if self.lose_answer:
            self.lose_answer = False
            raise TimeoutError("no answer")
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def log_inputs(self, run_id, datasets):
        self._call("log_inputs")
        self.runs[run_id]["inputs"].append(datasets)

    def get_metric_history(self, run_id, key):
        self._call("get_metric_history")
        points = [point for point in self.runs[run_id]["metrics"] if point[0] == key]
        return [SimpleNamespace(value=value, step=step) for _, value, step in points]

    def update_run(self, run_id, status):
        self._call("update_run")
        self.runs[run_id]["status"] = status

    def log_batch(self, run_id, metrics, params, tags):
        self._call("log_batch")
        if any(p.key in self.refuse_params for p in params):
            raise Refusal("changing param values is not allowed")
        assert len(metrics) <= 1000 and len(params) <= 100 and len(tags) <= 100
        assert len(metrics) + len(params) + len(tags) <= 1000
        run = self.runs[run_id]
        run["metrics"] += [(m.key, m.value, m.step) for m in metrics]
        run["params"].update({p.key: p.value for p in params})
        run["tags"].update({t.key: t.value for t in tags})

    def set_terminated(self, run_id, status, end_time):
        self._call("set_terminated")
        self.runs[run_id]["status"] = status

    def log_artifacts(self, run_id, folder, artifact_path):
        self._call("log_artifacts")
        if self.files_away:
            raise ConnectionError("no bucket")
        self.runs[run_id]["files"].append((folder, artifact_path))

    def opener(self, uri: str, artifact_root: str | None, experiment: str) -> Store:
        if self.away:
            raise ConnectionError("connection refused")
        return Store(self, "0")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now
