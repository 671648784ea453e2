"""Where the state of one machine lies: everything under one folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuner.addresses import demand_utf8, sqlite_url


@contextlib.contextmanager
def private() -> Iterator[None]:
    """What is written meanwhile, by this process or by one that it starts, only this user may read:
    images of a factory, and what was found in them. Also a decorator."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@dataclass(frozen=True)
class StudyFolder:
    """The files of one study. The ledger, not this folder, is the truth about its trials."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "study.json"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def audit(self) -> Path:
        return self.path / "audit.json"

    @property
    def audit_plots(self) -> Path:
        return self.path / "audit"

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def report(self) -> Path:
        return self.path / "report" / "report.html"

    @property
    def package(self) -> Path:
        return self.path / "winner"

    @property
    def joint_scores(self) -> Path:
        """Scores of the unlabelled batch by a winner that is an ensemble."""
        return self.path / "joint-scores.npy"

    @property
    def warm_start(self) -> Path:
        return self.path / "warm-start.json"

    @property
    def spool(self) -> Path:
        return self.path / "tracking-spool.jsonl"

    @property
    def lock(self) -> Path:
        return self.path / "driver.lock"

    def trial(self, number: int) -> Path:
        return self.path / "trials" / f"{number:04d}"


@dataclass(frozen=True)
class Home:
    """`$TUNER_HOME`, or `./tuner-runs`."""

    path: Path

    @classmethod
    def here(cls) -> Home:
        return cls.at(os.environ.get("TUNER_HOME") or "tuner-runs")

    @classmethod
    def at(cls, path: str | Path) -> Home:
        """Raises ValueError for a path that no database's address can hold."""
        found = Path(path).expanduser().absolute()
        demand_utf8("the home (TUNER_HOME)", str(found))
        return cls(found)

    @property
    def ledger_url(self) -> str:
        return sqlite_url(self.path / "ledger.db")

    @property
    def cache(self) -> Path:
        return self.path / "data"

    @property
    def precision(self) -> Path:
        """Number formats chosen by measurement, so that a repeated study repeats them."""
        return self.path / "precision.json"

    @property
    def engine(self) -> Path:
        return self.path / "engine"

    @property
    def models(self) -> Path:
        """Copies of packages from a registry that keeps its files elsewhere."""
        return self.path / "models"

    def study(self, name: str) -> StudyFolder:
        return StudyFolder(self.path / "studies" / name)

    def study_names(self) -> list[str]:
        folder = self.path / "studies"
        if not folder.is_dir():
            return []
        return sorted(p.name for p in folder.iterdir() if (p / "study.json").is_file())
