"""A trained detector as two files: weights as safetensors, everything else as JSON."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from methods.contract import Detector, unit
from methods.hyperparameter import Value
from methods.registry import get_method
from tuner.registry.intake import Images, batches

FORMAT = 1
WEIGHTS_FILE = "detector.safetensors"
PACKAGE_FILE = "package.json"
FULL_SCALE = 65535

_BATCH = 32


class PackageError(ValueError):
    """A folder that holds no package, or one that this version cannot read."""


@dataclass(frozen=True)
class Package:
    """What is known of a packaged detector beside its weights.

    `size` is (height, width) in pixels, `ceiling` the full scale of 16-bit samples. A score above
    `threshold` is an anomaly; `false_positive_rate` is what it was set for on `held_out_scores`.
    """

    method: str
    hyperparameters: Mapping[str, Value]
    scoring: Mapping[str, Value]
    size: tuple[int, int]
    threshold: float
    false_positive_rate: float
    held_out_scores: tuple[float, ...]
    category: str
    study: str
    fingerprint: str
    versions: Mapping[str, str]
    ceiling: int = FULL_SCALE


class PackagedDetector:
    """Takes images of any form and size; returns scores, heat maps and verdicts."""

    def __init__(self, package: Package, detector: Detector) -> None:
        self.package = package
        self.detector = detector

    @property
    def localises(self) -> bool:
        """Whether this detector has heat maps."""
        return hasattr(self.detector, "maps")

    def predict(self, images: Images) -> dict[str, NDArray[Any]]:
        """Judge images: arrays, file paths or bytes, one or a list, of any size.

        Returns `score` float64 `[B]` (higher is more anomalous), `verdict` bool `[B]` (the score
        is above the threshold) and, where the detector localises, `map` float32 `[B, H, W]` at
        the size of the package. Raises ValueError for what is no image; `tuner.registry.intake`
        says what is.
        """
        package = self.package
        scores, maps = [], []
        with torch.no_grad():
            for part in batches(images, package.size, package.ceiling, _BATCH):
                batch = unit(torch.from_numpy(part))
                scores.append(_on_cpu(self.detector.scores(batch, package.scoring)).double())
                if self.localises:
                    drawn = self.detector.maps(batch, package.scoring)  # type: ignore[attr-defined]
                    maps.append(_on_cpu(drawn).float())
        score = torch.cat(scores).numpy()
        result = {"score": score, "verdict": score > package.threshold}
        if maps:
            result["map"] = torch.cat(maps).numpy()
        return result


def save_package(
    folder: Path,
    *,
    method: str,
    hyperparameters: Mapping[str, Value],
    scoring: Mapping[str, Value],
    weights: Mapping[str, Tensor],
    size: tuple[int, int],
    threshold: float,
    false_positive_rate: float,
    held_out_scores: ArrayLike,
    category: str,
    study: str,
    fingerprint: str,
    versions: Mapping[str, str],
    ceiling: int = FULL_SCALE,
) -> None:
    """Write `detector.safetensors` and `package.json` into `folder`, replacing earlier ones.

    Raises ValueError for a threshold that is not finite.
    """
    from safetensors.torch import save

    if not math.isfinite(threshold):
        raise ValueError(f"threshold is {threshold}, but must be a finite number")
    held_out = np.asarray(held_out_scores, dtype=np.float64).ravel()
    # Tensors that share memory or have gaps cannot be kept as safetensors.
    packed = save({name: w.detach().cpu().contiguous().clone() for name, w in weights.items()})
    content = {
        "format": FORMAT,
        "method": method,
        "hyperparameters": dict(hyperparameters),
        "scoring": dict(scoring),
        "size": [int(side) for side in size],
        "threshold": float(threshold),
        "false_positive_rate": float(false_positive_rate),
        "held_out_scores": held_out.tolist(),
        "category": category,
        "study": study,
        "fingerprint": fingerprint,
        "versions": dict(versions),
        "ceiling": ceiling,
        "weights_sha256": hashlib.sha256(packed).hexdigest(),
    }
    text = json.dumps(content, indent=2, default=_plain)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / WEIGHTS_FILE, packed)
    _replace(folder / PACKAGE_FILE, text.encode())


def read_package(folder: Path) -> Package:
    """What a package says of itself, without its weights. Raises PackageError."""
    content = _read(folder)
    return Package(**{name: content[name] for name in Package.__dataclass_fields__})


def load_package(folder: Path) -> PackagedDetector:
    """Rebuild the detector of a package on the CPU; no code of the package is run.

    Raises PackageError where files are missing, damaged, of another format, or made by a method
    that is not installed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    package, wanted = read_package(folder), _read(folder)["weights_sha256"]
    try:
        packed = (folder / WEIGHTS_FILE).read_bytes()
    except OSError as error:
        raise PackageError(f"{folder} has no {WEIGHTS_FILE}: {error}") from error
    if hashlib.sha256(packed).hexdigest() != wanted:
        raise PackageError(
            f"{folder / WEIGHTS_FILE} is damaged: its checksum is not that of {PACKAGE_FILE}"
        )
    try:
        weights = load(packed)
        detector = get_method(package.method).restore(package.hyperparameters, weights)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        made = ", ".join(f"{name} {version}" for name, version in package.versions.items())
        raise PackageError(
            f"{folder} cannot be restored ({error}); it was made with: {made}"
        ) from error
    return PackagedDetector(package, detector)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / PACKAGE_FILE
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PackageError(f"{folder} holds no package: {error}") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise PackageError(
            f"{path} has format {found}, but this version of tuner reads format {FORMAT}; load it "
            "with the version that made it"
        )
    missing = {*Package.__dataclass_fields__, "weights_sha256"} - set(content)
    if missing:
        raise PackageError(f"{path} lacks: {', '.join(sorted(missing))}")
    content["size"] = tuple(content["size"])
    content["held_out_scores"] = tuple(content["held_out_scores"])
    return dict(content)


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(content)
    draft.replace(path)


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch as Python's own."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be kept in a package")


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu()
