"""A packaged detector as one ONNX graph beside it, and the proof that both say the same."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from methods.contract import unit
from methods.onepass import OnePass
from tuner.registry.package import PackagedDetector, load_package

if TYPE_CHECKING:
    import onnxruntime

ONNX_FILE = "model.onnx"
EXPORT_FILE = "export.json"
OPSET = 20
TOLERANCE = 1e-4

_BATCH = 32


@dataclass(frozen=True)
class Parity:
    """How far the graph and the packaged detector are apart on `images` images.

    `difference` is the largest of any pixel of a heat map, in units of the map's largest value
    where that is above 1 (in standard deviations of normals, a gross anomaly reaches hundreds, and
    float32 has seven digits); or, for a detector without maps, of any score in units of its size.
    `verdicts` counts the images on which they disagree.
    """

    images: int
    difference: float
    verdicts: int

    @property
    def holds(self) -> bool:
        return self.difference <= TOLERANCE and self.verdicts == 0

    def __str__(self) -> str:
        return (
            f"largest difference {self.difference:.2g} (at most {TOLERANCE:g}), {self.verdicts} of "
            f"{self.images} verdicts differ"
        )


@dataclass(frozen=True)
class Export:
    """What came of an export: a graph, or the reason why there is none.

    `possible` is False where the scoring itself is no fixed graph of operations.
    """

    done: bool
    possible: bool
    reason: str
    opset: int = OPSET


def export_onnx(folder: Path, images: NDArray[np.uint8]) -> Export:
    """Write `model.onnx` into a package where it agrees with the package on `images`.

    `images` uint8 `[B, 3, H, W]` at the size of the package. The graph takes uint8
    `[batch, H, W, 3]` at that size, any batch, and returns `score` `[batch]`, `verdict` and, where
    the detector localises, `map` `[batch, H, W]`; threshold and false-positive rate are in its
    metadata. Decoding and resizing stay outside: Pillow rounds its resized images to whole grey
    levels, which ONNX's Resize does not, and one level is forty times the tolerance.

    No parity, no graph: what is left then, and where scoring needs a gradient, is `export.json`
    with the reason. Raises PackageError for a broken package.
    """
    packaged = load_package(folder, "cpu")
    (folder / ONNX_FILE).unlink(missing_ok=True)
    export = _exported(packaged, folder, images)
    draft = folder / f"{EXPORT_FILE}.part"
    draft.write_text(json.dumps(asdict(export), indent=2))
    draft.replace(folder / EXPORT_FILE)
    return export


def read_export(folder: Path) -> Export | None:
    """What came of the export of a package; None where none was tried."""
    try:
        return Export(**json.loads((folder / EXPORT_FILE).read_text()))
    except FileNotFoundError:
        return None


def parity(packaged: PackagedDetector, graph: Path, images: NDArray[np.uint8]) -> Parity:
    """Compare a graph with its package on uint8 `[B, 3, H, W]`. Raises OSError for a bad graph."""
    session = open_graph(graph)
    difference, verdicts = 0.0, 0
    for start in range(0, len(images), _BATCH):
        part = images[start : start + _BATCH]
        own = packaged.judge(part)
        other = dict(zip(_names(packaged), _run(session, part), strict=True))
        verdicts += int((own["verdict"] != other["verdict"]).sum())
        if packaged.localises:
            largest = np.abs(own["map"]).max((1, 2), initial=1.0)
            apart = (np.abs(own["map"] - other["map"]).max((1, 2)) / largest).max()
        else:
            apart = (np.abs(own["score"] - other["score"]) / np.abs(own["score"]).max()).max()
        difference = max(difference, float(apart))
    return Parity(len(images), difference, verdicts)


def open_graph(graph: Path) -> onnxruntime.InferenceSession:
    """A session on the processor. Raises OSError for a file that is no graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise OSError(f"{graph} is no ONNX graph that can be run: {error}") from error


class _Whole(nn.Module):
    """From uint8 `[B, H, W, 3]` to score, verdict and map."""

    def __init__(self, one_pass: OnePass, threshold: float) -> None:
        super().__init__()
        self.one_pass, self.threshold = one_pass, threshold

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        score, *maps = self.one_pass(unit(images.permute(0, 3, 1, 2)).contiguous())
        score = score.float()
        return (score, score > self.threshold, *maps)


def _exported(packaged: PackagedDetector, folder: Path, images: NDArray[np.uint8]) -> Export:
    if packaged.one_pass.obstacle:
        return Export(False, False, f"no graph: {packaged.one_pass.obstacle}")
    draft = folder / f"{ONNX_FILE}.part"
    try:
        _write(packaged, draft)
        found = parity(packaged, draft, images)
    except Exception as error:  # a winner is worth more than its export
        draft.unlink(missing_ok=True)
        why = (str(error).splitlines() or [""])[0][:300]
        return Export(False, True, f"the export failed: {type(error).__name__}: {why}")
    if not found.holds:
        draft.unlink()
        return Export(False, True, f"no parity with torch, so no graph: {found}")
    draft.replace(folder / ONNX_FILE)
    return Export(True, True, str(found))


def _write(packaged: PackagedDetector, target: Path) -> None:
    package = packaged.package
    whole = _Whole(packaged.one_pass, package.threshold).eval()
    example = torch.full((2, *package.size, 3), 128, dtype=torch.uint8)
    with torch.no_grad(), _quiet():
        # Tables that are made on first use must not be made while the exporter watches.
        whole(example)
        program = torch.onnx.export(
            whole,
            (example,),
            dynamo=True,
            # Where two members clip the same image, the optimiser gives both bounds one name and
            # leaves a graph that cannot be loaded; the runtime optimises it when it is loaded.
            optimize=not package.members,
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=_names(packaged),
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(
        {
            "tuner.category": package.category,
            "tuner.study": package.study,
            "tuner.threshold": repr(package.threshold),
            "tuner.false_positive_rate": repr(package.false_positive_rate),
        }
    )
    program.save(str(target), external_data=False)


def _names(packaged: PackagedDetector) -> list[str]:
    return ["score", "verdict", *(["map"] if packaged.localises else [])]


def _run(session: Any, images: NDArray[np.uint8]) -> list[NDArray[Any]]:
    return list(session.run(None, {"images": np.ascontiguousarray(images.transpose(0, 2, 3, 1))}))


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of itself on every channel there is."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
            warnings.simplefilter("ignore")
            from contextlib import redirect_stdout

            with redirect_stdout(nowhere):
                yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
