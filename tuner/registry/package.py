"""A trained detector as two files: weights as safetensors, everything else as JSON."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from methods.contract import (
    Detector,
    FrozenNetwork,
    InpaintingDetector,
    MapDetector,
    Scoring,
    unit,
)
from methods.ensemble import ENSEMBLE, member_weights, restore_ensemble
from methods.hyperparameter import Value
from methods.onepass import Judged, one_pass_of
from methods.registry import get_method
from methods.scoring.normalisation import left_out
from methods.state import move
from tuner.data import RECIPE
from tuner.data.images import Size
from tuner.data.survey import Depth
from tuner.registry.intake import Images, Intake, batches, listed, repair_masks
from tuner.registry.threshold import Rule, Threshold, find_threshold

FORMAT = 1
# Of an ensemble: a reader of the first format does not know what to do with members.
ENSEMBLE_FORMAT = 2
# Of 16-bit samples that do not begin at 0: a reader of the others would take them as if they did.
SHIFTED_FORMAT = 3
WEIGHTS_FILE = "detector.safetensors"
PACKAGE_FILE = "package.json"
# What was asked of the study, for machines that hold the package but not the study.
STUDY_FILE = "study.json"
FULL_SCALE = 65535

_BATCH = 32
# Of the threshold: more than float32 rounding in another order, less than any score tells.
_HAIR = 1e-5


Maps = Literal["image", "package", "none"]


class PackageError(ValueError):
    """A folder that holds no package, or one that this version cannot read."""


@dataclass(frozen=True)
class Trained:
    """One trained detector: a trial's number, its method and its settings."""

    trial: int
    method: str
    hyperparameters: Mapping[str, Value]
    scoring: Mapping[str, Value]


@dataclass(frozen=True)
class Frozen:
    """What is told of a frozen network inside a package: its name, the SHA-256 of the weights that
    it came from, and who published them under which licence."""

    name: str
    digest: str
    origin: str


@dataclass(frozen=True)
class Package:
    """What is known of a packaged detector beside its weights.

    `size` is (height, width) in pixels; 16-bit samples are taken from `floor` to `ceiling`, and
    files become pixels by `recipe` (see `tuner.data.RECIPE`). A score above `threshold` is an
    anomaly; `false_positive_rate` is what it was set for on `held_out_scores`.
    The method of an ensemble is `ensemble`, without settings of its own; `members` have theirs.
    `backbones` are the frozen networks below its detectors; their weights are in the package.
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
    members: tuple[Trained, ...] = ()
    floor: int = 0
    recipe: int = RECIPE
    backbones: tuple[Frozen, ...] = ()

    @property
    def intake(self) -> Intake:
        """How images become what the detector takes."""
        return Intake(self.size, Depth(self.ceiling, self.floor), self.recipe)

    @property
    def trained(self) -> list[tuple[str, Mapping[str, Value]]]:
        """Method and hyperparameters of every network in it."""
        alone = [(self.method, self.hyperparameters)]
        return [(m.method, m.hyperparameters) for m in self.members] or alone


class PackagedDetector:
    """Takes images of any form and size; returns scores, heat maps and verdicts.

    It works on `device`, in float32 whatever format training used: a threshold must mean the same
    on every machine.
    """

    def __init__(
        self, package: Package, detector: Detector, device: torch.device | None = None
    ) -> None:
        self.package = package
        self.device = device or torch.device("cpu")
        if self.device.type != "cpu":
            move(detector, self.device)
        self.detector = detector
        self.one_pass = one_pass_of(detector, package.scoring)

    @property
    def localises(self) -> bool:
        """Whether this detector has heat maps."""
        return isinstance(self.detector, MapDetector)

    def predict(self, images: Images, maps: Maps = "image") -> dict[str, NDArray[Any]]:
        """Judge images: arrays, files, folders, globs, bytes or Pillow's images, one or a list, of
        any size.

        Returns `score` float64 `[B]` (higher is more anomalous), `score_over_threshold` float64
        `[B]` (1.0 is the line; NaN where the threshold is not above 0), `verdict` bool `[B]` (the
        score is above the threshold), `threshold` and `false_positive_rate` (the rate that the
        threshold was set for on held-out normals), both float64 `[B]` and the same for all, `image`
        `[B]` (paths, or `image 0`, `image 1`), and, where the detector localises, `map`: float32
        `[B, H, W]` at the size of the images, or an array `[B]` of maps where they have several.
        With `maps` "package" they have the size of the package, with "none" they are left out.
        Raises ValueError for what is no image; `tuner.registry.intake` says what is.
        """
        parts, names, heat = [], list[str](), list[NDArray[np.float32]]()
        for part in batches(images, self.package.intake, _BATCH):
            judged = self.judge(part.pixels)
            own = judged.pop("map", None)
            if own is not None and maps != "none":
                sizes = part.sizes if maps == "image" else (self.package.size,) * len(own)
                heat += [enlarged(amap, size) for amap, size in zip(own, sizes, strict=True)]
            parts.append(judged)
            names += part.names
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        found["image"] = np.array(names)
        if heat:
            found["map"] = _side_by_side(heat)
        return found

    def inpaint(
        self, images: Images, masks: Images | None = None, **settings: Value
    ) -> NDArray[np.uint8]:
        """Repair images: uint8 `[B, H, W, 3]` at the size of the package.

        `images` are what `predict` takes. `masks`, one for each image or one for all, mark what is
        to be repaired: arrays `[H, W]` where they are not 0, files where they are bright. Without
        masks the detector decides. `settings` are scoring hyperparameters in place of the model's
        own, as `iterations=50`. Raises ValueError for a method that repairs nothing, and for what
        does not fit among images, masks and settings.
        """
        if not isinstance(self.detector, InpaintingDetector):
            raise ValueError(
                f"a model of the method {self.package.method} repairs no images; one of "
                "energy-projection does"
            )
        entries = listed(images)
        marks = None if masks is None else repair_masks(masks, self.package.size)
        if marks is not None and len(marks) not in (1, len(entries)):
            raise ValueError(
                f"there are {len(marks)} masks for {len(entries)} images; give one for each, or one"
            )
        found = []
        for start, part in enumerate(batches(entries, self.package.intake, _BATCH)):
            own = (
                marks
                if marks is None or len(marks) == 1
                else marks[start * _BATCH :][: len(part.pixels)]
            )
            mask = None if own is None else torch.from_numpy(own).to(self.device)
            repaired = self.detector.inpaint(
                self.tensor(part.pixels), mask, {**self.package.scoring, **settings}
            )
            found.append(repaired.mul(255).round_().to(torch.uint8).permute(0, 2, 3, 1).cpu())
        return torch.cat(found).numpy()

    def judge(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """`predict` for one batch that is prepared: uint8 `[B, 3, H, W]` at the package's size."""
        with torch.inference_mode():
            return self.verdicts(self.one_pass(self.tensor(images)))

    def tensor(self, images: NDArray[np.uint8]) -> Tensor:
        """What the network takes: float `[B, 3, H, W]` in [0, 1] on the device."""
        return unit(torch.from_numpy(images).to(self.device))

    def verdicts(self, judged: Judged) -> dict[str, NDArray[Any]]:
        """What `predict` returns, of what the one pass returned."""
        score = judged[0].detach().cpu().double().numpy()
        found: dict[str, NDArray[Any]] = {
            "score": score,
            "score_over_threshold": over_threshold(score, self.package.threshold),
            "verdict": score > self.package.threshold,
            "threshold": np.full(len(score), self.package.threshold),
            "false_positive_rate": np.full(len(score), self.package.false_positive_rate),
        }
        if len(judged) > 1:
            found["map"] = judged[1].detach().cpu().float().numpy()
        return found


def over_threshold(scores: ArrayLike, threshold: float) -> NDArray[np.float64]:
    """Scores `[B]` in units of the threshold: above 1.0 is an anomaly. NaN where the threshold is
    not above 0, and has no such units."""
    values = np.asarray(scores, dtype=np.float64)
    return values / threshold if threshold > 0 else np.full_like(values, np.nan)


def enlarged(amap: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """A map `[h, w]` brought to H x W `size`, bilinearly."""
    if amap.shape == size:
        return amap
    from PIL import Image

    drawn = Image.fromarray(amap).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(drawn)


def _side_by_side(maps: Sequence[NDArray[np.float32]]) -> NDArray[Any]:
    """`[B, H, W]`, or an object array `[B]` where sizes differ."""
    if len({amap.shape for amap in maps}) == 1:
        return np.stack(maps)
    listed = np.empty(len(maps), dtype=object)
    listed[:] = maps
    return listed


def calibrate(
    detector: Detector,
    scoring: Scoring,
    held_out: NDArray[np.uint8],
    false_positive_rate: float,
    rule: Rule = "quantile",
) -> tuple[NDArray[np.float64], Threshold]:
    """Scores `[V]` of held-out normals uint8 `[V, 3, H, W]`, and the threshold that they set.

    Each is scored as a new normal would be: it takes no part in the normalisation of its own map.
    Raises ValueError as `find_threshold` does.
    """
    one_pass = one_pass_of(detector, scoring)
    with torch.inference_mode(), left_out():
        parts = [one_pass(unit(part))[0] for part in torch.from_numpy(held_out).split(_BATCH)]
    scores = torch.cat(parts).double().numpy()
    return scores, threshold_of(scores, false_positive_rate, rule)


def threshold_of(
    held_out_scores: ArrayLike, false_positive_rate: float, rule: Rule = "quantile"
) -> Threshold:
    """The threshold of a package, raised by a hair, so that rounding on another machine does not
    lift the very image it was taken from above it. Raises ValueError as `find_threshold` does."""
    found = find_threshold(held_out_scores, false_positive_rate, rule)
    return replace(found, value=found.value + _HAIR * abs(found.value))


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
    floor: int = 0,
    recipe: int = RECIPE,
    members: Sequence[Trained] = (),
    backbones: Sequence[FrozenNetwork] = (),
) -> None:
    """Write `detector.safetensors` and `package.json` into `folder`, replacing earlier ones.

    The weights of an ensemble are those of its members, with what makes their scores one. Weights
    of `methods.contract.everything` make a package that needs no backbone to be installed. Raises
    ValueError for a threshold that is not finite.
    """
    from safetensors.torch import save

    if not math.isfinite(threshold):
        raise ValueError(f"threshold is {threshold}, but must be a finite number")
    held_out = np.asarray(held_out_scores, dtype=np.float64).ravel()
    # Tensors that share memory or have gaps cannot be kept as safetensors.
    packed = save({name: w.detach().cpu().contiguous().clone() for name, w in weights.items()})
    content = {
        "format": SHIFTED_FORMAT if floor else ENSEMBLE_FORMAT if members else FORMAT,
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
        "floor": floor,
        "recipe": recipe,
        "weights_sha256": hashlib.sha256(packed).hexdigest(),
    }
    if members:
        content["members"] = [asdict(member) for member in members]
    if backbones:
        told = dict.fromkeys(Frozen(each.name, each.digest, each.origin) for each in backbones)
        content["backbones"] = [asdict(each) for each in told]
    text = json.dumps(content, indent=2, default=_plain)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / WEIGHTS_FILE, packed)
    _replace(folder / PACKAGE_FILE, text.encode())


def read_package(folder: Path) -> Package:
    """What a package says of itself, without its weights. Raises PackageError."""
    content = _read(folder)
    return Package(**{name: content[name] for name in Package.__dataclass_fields__})


def load_package(folder: Path, device: str = "auto") -> PackagedDetector:
    """Rebuild the detector of a package; no code of the package is run.

    `device` is `cpu`, `cuda`, or `auto`: the GPU where there is one. Raises
    PackageError where files are missing, damaged, of another format, or made by a method that is
    not installed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    package, wanted = read_package(folder), _read(folder)["weights_sha256"]
    try:
        packed = (folder / WEIGHTS_FILE).read_bytes()
    except OSError as error:
        raise PackageError(
            f"{folder} has no {WEIGHTS_FILE} ({error}); restore it from a backup, or launch its "
            "study again"
        ) from error
    if hashlib.sha256(packed).hexdigest() != wanted:
        raise PackageError(
            f"{folder / WEIGHTS_FILE} is damaged: its checksum is not that of {PACKAGE_FILE}; "
            "restore it from a backup, or launch its study again"
        )
    try:
        detector = _restored(package, load(packed))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        made = ", ".join(f"{name} {version}" for name, version in package.versions.items())
        raise PackageError(
            f"{folder} cannot be restored ({error}); it was made with: {made}"
        ) from error
    return PackagedDetector(package, detector, _device(device))


def _restored(package: Package, weights: Mapping[str, Tensor]) -> Detector:
    if package.method != ENSEMBLE:
        return get_method(package.method).restore(package.hyperparameters, weights)
    detectors = [
        (get_method(m.method).restore(m.hyperparameters, member_weights(place, weights)), m.scoring)
        for place, m in enumerate(package.members)
    ]
    return restore_ensemble(detectors, weights)


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is {name!r}, but must be auto, cpu or cuda")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ValueError("device is cuda, but torch sees no GPU here; give cpu or auto")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def _read(folder: Path) -> dict[str, Any]:
    path = folder / PACKAGE_FILE
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PackageError(f"{folder} holds no package: {error}") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found not in (FORMAT, ENSEMBLE_FORMAT, SHIFTED_FORMAT):
        made = content.get("versions", {}).get("tuner", "?") if isinstance(content, dict) else "?"
        raise PackageError(
            f"{path} has format {found} (made by tuner {made}), but this version of tuner reads "
            f"formats {FORMAT} to {SHIFTED_FORMAT}; load it with the version that made it, or "
            "launch its study again"
        )
    content = {"members": [], "floor": 0, "recipe": 2, "backbones": [], **content}
    missing = {*Package.__dataclass_fields__, "weights_sha256"} - set(content)
    if missing:
        raise PackageError(f"{path} lacks: {', '.join(sorted(missing))}")
    content["size"] = tuple(content["size"])
    content["held_out_scores"] = tuple(content["held_out_scores"])
    try:
        content["members"] = tuple(Trained(**member) for member in content["members"])
    except TypeError as error:
        raise PackageError(f"{path} has members that are not whole: {error}") from error
    try:
        content["backbones"] = tuple(Frozen(**each) for each in content["backbones"])
    except TypeError as error:
        raise PackageError(f"{path} has backbones that are not whole: {error}") from error
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
