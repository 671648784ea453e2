"""The truth about the demo batch, drawn again from the seed. For `tuner.data.labels` alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuner.data.demo.scene import batch_scene, counts
from tuner.data.images import content_hash


@dataclass(frozen=True)
class Known:
    """An image by its content's hash; `defect` is empty for good; `mask` bool `[256, 256]`."""

    hash: str
    defect: str
    mask: np.ndarray


def truth(category: str) -> list[Known]:
    """Of every image in the unlabelled batch of a demo category."""
    scenes = (batch_scene(category, slot) for slot in range(counts()[1]))
    return [Known(content_hash(scene.image), scene.defect, scene.mask) for scene in scenes]
