"""Drivers that do not outlive their test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.drivers import Garage


@pytest.fixture
def garage(tmp_path: Path, tracking_tables: Path) -> Iterator[Garage]:
    shutil.copy(tracking_tables, tmp_path)
    made = Garage(tmp_path)
    yield made
    made.close()
