"""Pixel figures of audited detectors, kept beside the study.

Maps cost a pass of the network over all images, and the figures of one detector on one truth never
change: an audit that is repeated, with more criteria say, takes them from here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tuner.evaluation.audit import PIXEL_METRICS, Figures, Truth
from tuner.study.jsonfile import write_json


@dataclass
class Remembered:
    """A file of figures by what they depend on: weights, settings, truth."""

    path: Path
    truth: str
    figures: dict[str, Figures] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, labels: Truth) -> Remembered:
        """What was kept before; nothing where the file is missing or unreadable."""
        try:
            figures = json.loads(path.read_text())
        except (OSError, ValueError):
            figures = {}
        return cls(path, _truth(labels), figures if isinstance(figures, dict) else {})

    def key(self, weights: Path, settings: Mapping[str, Any]) -> str:
        digest = hashlib.sha256(weights.read_bytes())
        digest.update(json.dumps(dict(settings), sort_keys=True, default=str).encode())
        digest.update(self.truth.encode())
        return digest.hexdigest()

    def of(self, key: str) -> Figures | None:
        found = self.figures.get(key)
        return found if found is not None and set(found) == set(PIXEL_METRICS) else None

    def keep(self, found: Mapping[str, Figures]) -> None:
        """Add figures by key; others are kept."""
        self.figures |= {
            key: {name: figures[name] for name in PIXEL_METRICS} for key, figures in found.items()
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, self.figures)


def _truth(labels: Truth) -> str:
    digest = hashlib.sha256(np.asarray(labels.anomalous, dtype=bool).tobytes())
    digest.update(np.asarray(labels.mask_known, dtype=bool).tobytes())
    if labels.masks is not None:
        digest.update(np.packbits(labels.masks).tobytes())
    return digest.hexdigest()
