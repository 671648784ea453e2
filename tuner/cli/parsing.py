"""Small texts of the command line into values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from methods.hyperparameter import Value
from tuner.study.config import AUTO


def parse_size(text: str | None) -> tuple[int, int] | None:
    """`96` or `96x128` (height x width). Raises ValueError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower())
    if match is None:
        raise ValueError(f"size is {text!r}, but must be like 96, or 96x128 (height x width)")
    height = int(match[1])
    return height, int(match[2] or height)


def parse_ensemble(text: str) -> int | Literal["auto"]:
    """A number of members, or `auto`. Raises ValueError."""
    if text == AUTO:
        return "auto"
    if not text.isdecimal():
        raise ValueError(f"--ensemble is {text!r}, but must be {AUTO} or a number; 1 for one trial")
    return int(text)


def parse_pins(texts: Sequence[str]) -> dict[str, Value]:
    """`name=value` pairs; numbers and true/false are recognised. Raises ValueError."""
    pins: dict[str, Value] = {}
    for text in texts:
        name, found, value = text.partition("=")
        if not found or not name.strip():
            raise ValueError(f"--set {text!r} must be like steps=800")
        pins[name.strip()] = parse_value(value.strip())
    return pins


def parse_pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """`name=value` pairs as texts. Raises ValueError that names the option, never the value."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, found, value = text.partition("=")
        if not found or not name.strip():
            raise ValueError(f"{option} must be like NAME=VALUE, but {name[:20]!r} has no value")
        pairs[name.strip()] = value
    return pairs


def parse_value(text: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
