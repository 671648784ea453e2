"""JSON files: written whole with plain values only, and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write_json(path: Path, content: object) -> None:
    """Write a whole file or none; what is not a finite number becomes null."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(clean(content), indent=2) + "\n")
    temporary.replace(path)


def read_json(path: Path, cure: str) -> Any:
    """What a file holds. Raises ValueError naming it, with the cure, where it is no JSON."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {cure}") from None


def clean(content: Any) -> Any:
    """Plain JSON values: numpy numbers as numbers, NaN and infinity as None."""
    if isinstance(content, Mapping):
        return {str(key): clean(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [clean(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, float) and not np.isfinite(content):
        return None
    return content
