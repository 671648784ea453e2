"""Foreign images from which corruptions may take their texture."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from tuner.data import survey
from tuner.data.errors import DataError
from tuner.data.images import Size, checked_size
from tuner.data.source import Item
from tuner.data.tree import is_image, open_folder
from tuner.limits import processors


def load_textures(folder: str | Path, size: Size, limit: int = 512) -> np.ndarray:
    """Every image below a folder, resized to H x W `size`: uint8 `[P, 3, H, W]`.

    Above `limit`, images evenly spaced in the order of their paths are taken. Unreadable ones are
    left out. Raises DataError where the folder is missing or no image can be read.
    """
    wanted = checked_size(size)
    if limit < 1:
        raise DataError(f"the limit of textures is {limit}, but must be 1 or more")
    tree = open_folder(str(folder))
    paths = [path for path in tree.files if is_image(path)]
    if len(paths) > limit:
        paths = [paths[index * len(paths) // limit] for index in range(limit)]
    items = [Item(partial(tree.read, path), path) for path in paths]
    images = list(survey.in_parallel(lambda item: survey.read(item, wanted), items, processors()))
    readable = [image for image in images if image.decoded]
    if not readable:
        raise DataError(
            f"no image can be read in {folder} ({len(paths)} tried); --textures needs a folder "
            "with PNG, JPEG, BMP or TIFF images, or leave it out for procedural textures"
        )
    scale = survey.depth(readable)
    return np.stack([survey.to_uint8(i.decoded.pixels, scale) for i in readable if i.decoded])
