"""Turning any name or value into one that MLflow accepts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

PARAM_LENGTH = 6000
TAG_LENGTH = 8000
KEY_LENGTH = 250
METRICS_PER_BATCH = 800
PARAMS_PER_BATCH = 100
TAGS_PER_BATCH = 100

_CUT = " … (cut)"


def clean_key(key: str) -> str:
    """MLflow takes letters, digits, and `_-. :/` in a name of at most 250 characters."""
    return re.sub(r"[^\w\-. :/]", "_", key)[:KEY_LENGTH]


def as_text(value: object) -> str:
    """Text that reads back: JSON for containers, Python's own form for numbers."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping | Sequence) and not isinstance(value, bytes):
        return json.dumps(value, default=str)
    return str(value)


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - len(_CUT)] + _CUT


def clean_params(params: Mapping[str, object]) -> dict[str, str]:
    return {clean_key(k): cut(as_text(v), PARAM_LENGTH) for k, v in params.items()}


def clean_tags(tags: Mapping[str, object]) -> dict[str, str]:
    return {clean_key(k): cut(as_text(v), TAG_LENGTH) for k, v in tags.items()}


def clean_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Leave out what is not a finite number: a store would keep infinity as 1.8e308."""
    return {clean_key(k): float(v) for k, v in metrics.items() if math.isfinite(v)}
