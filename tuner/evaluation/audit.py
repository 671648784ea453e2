"""What a finished study was worth, by labels that nothing before could see."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tuner.evaluation.image_metrics import image_ap, image_auroc, image_f1_max
from tuner.evaluation.pixel_metrics import pixel_metrics
from tuner.evaluation.regions import Regions, find_regions

Array = NDArray[Any]
Figures = dict[str, float | None]

PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "aupro")
METRICS = ("image_auroc", "image_ap", "image_f1_max", *PIXEL_METRICS)
WINNER = "winner"
NAMED = ("default", "best")


class Truth(Protocol):
    """What the audit needs of labels; see `tuner.data.labels.Labels`."""

    @property
    def anomalous(self) -> Array: ...
    @property
    def defects(self) -> tuple[str, ...]: ...
    @property
    def masks(self) -> Array | None: ...
    @property
    def mask_known(self) -> Array: ...
    @property
    def missing_masks(self) -> int: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Contender:
    """Scores `[M]` of the test batch in the order of the labels, and its maps where there are any.

    `maps` yields M maps `[H, W]` one by one; it may be called more than once and must yield the
    same each time. `pixels` are its pixel metrics where they are known from an earlier audit. Equal
    keys say that the maps are equal, too.
    """

    scores: Array
    maps: Callable[[], Iterator[Array]] | None = None
    pixels: Figures | None = None
    key: str | None = None


def open_labels(
    location: str,
    category: str,
    size: tuple[int, int],
    test_hashes: Sequence[str],
    cache: Path | None = None,
) -> Truth | None:
    """Open the labels of a study that has ended; None where the data hold none.

    `test_hashes` are the content hashes of the test batch, in the order of the scores that will
    be audited. Raises DataError where the images are no longer there.
    """
    from tuner.data.labels import load_labels

    return load_labels(location, category, size, test_hashes, cache)


def audit_contenders(
    labels: Truth,
    contenders: Mapping[str, Contender],
    regions: Regions | None = None,
    measured: dict[str, Figures] | None = None,
) -> dict[str, Any]:
    """Metrics of each contender ("winner", "default", "best"), and what they were counted on.

    A metric that is not defined (one class only, no known mask, no maps, scores that are not
    numbers) is None, and `undefined` counts them by metric. Pixel metrics leave out anomalous
    images whose mask is missing. `defects` gives image AUROC of each kind of defect against all
    normal images: `image_auroc` the winner's, and each other named contender's by its name.
    `regions` and `measured` as in `contender_figures`. Raises ValueError for a wrong number of
    scores or size of maps.
    """
    regions = regions_of(labels) if regions is None else regions
    figures = contender_figures(labels, contenders, regions, measured)
    every = list(figures.values())
    audited: dict[str, Any] = dict(figures)
    audited["counts"] = {
        "images": len(labels.anomalous),
        "anomalous": int(np.sum(labels.anomalous)),
        "masks_missing": int(labels.missing_masks),
        "regions": 0 if regions is None else regions.count,
    }
    audited["warnings"] = list(labels.warnings)
    audited["undefined"] = {
        metric: sum(each[metric] is None for each in every)
        for metric in METRICS
        if any(each[metric] is None for each in every)
    }
    audited["defects"] = _defects(labels, contenders) if WINNER in contenders else {}
    return audited


def contender_figures(
    labels: Truth,
    contenders: Mapping[str, Contender],
    regions: Regions | None,
    measured: dict[str, Figures] | None = None,
) -> dict[str, Figures]:
    """All metrics of each contender, as in `audit_contenders`, on the regions of `regions_of`.

    `measured` holds pixel metrics by the contenders' keys: what is in there is not measured again,
    and what is measured is added.
    """
    known = _with_known_mask(labels)
    measured = {} if measured is None else measured
    return {
        name: _image_figures(labels, each.scores) | _pixel_figures(each, known, regions, measured)
        for name, each in contenders.items()
    }


def regions_of(labels: Truth) -> Regions | None:
    """The defect regions of all images but the anomalous ones without mask; None without masks."""
    return None if labels.masks is None else find_regions(labels.masks[_with_known_mask(labels)])


def _with_known_mask(labels: Truth) -> Array:
    known: Array = np.asarray(labels.mask_known, dtype=bool)
    return known | ~np.asarray(labels.anomalous, dtype=bool)


def _defects(labels: Truth, contenders: Mapping[str, Contender]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = dict(by_defect(labels, contenders[WINNER].scores))
    for name in (name for name in NAMED if name in contenders):
        for kind, figures in by_defect(labels, contenders[name].scores).items():
            found[kind] = {**found[kind], name: figures["image_auroc"]}
    return found


def by_defect(labels: Truth, scores: Array) -> dict[str, dict[str, float | int | None]]:
    """Number of images and image AUROC for each kind of defect, against all normal images."""
    normal = ~np.asarray(labels.anomalous, dtype=bool)
    kinds = np.array(labels.defects, dtype=object)
    result: dict[str, dict[str, float | int | None]] = {}
    for kind in sorted(set(kinds[~normal])):
        chosen = normal | (kinds == kind)
        value = _defined(image_auroc, ~normal[chosen], scores[chosen])
        result[str(kind)] = {"images": int((kinds == kind).sum()), "image_auroc": value}
    return result


def rank_trials(labels: Truth, scores_by_trial: Mapping[int, Array]) -> dict[int, float]:
    """Image AUROC by trial, best first; NaN, and last, where it is not defined."""
    found = {
        trial: _defined(image_auroc, labels.anomalous, scores)
        for trial, scores in scores_by_trial.items()
    }
    values = {t: math.nan if v is None else v for t, v in found.items()}
    order = sorted(values, key=lambda t: (math.isnan(values[t]), -values[t], t))
    return {trial: values[trial] for trial in order}


def _image_figures(labels: Truth, scores: Array) -> Figures:
    metrics = {
        "image_auroc": image_auroc,
        "image_ap": image_ap,
        "image_f1_max": image_f1_max,
    }
    return {name: _defined(metric, labels.anomalous, scores) for name, metric in metrics.items()}


def _pixel_figures(
    contender: Contender, known: Array, regions: Regions | None, measured: dict[str, Figures]
) -> Figures:
    maps, key = contender.maps, contender.key
    if contender.pixels is not None:
        return contender.pixels
    if key is not None and key in measured:
        return measured[key]
    if maps is None or regions is None:
        return dict.fromkeys(PIXEL_METRICS)

    def kept() -> Iterator[Array]:
        for index, amap in enumerate(maps()):
            if index >= len(known):
                raise ValueError(f"there are more maps than images; images are {len(known)}")
            if known[index]:
                yield amap

    found = pixel_metrics(kept, regions)
    figures: Figures = dict(zip(PIXEL_METRICS, map(_number, found), strict=True))
    if key is not None:
        measured[key] = figures
    return figures


def _defined(
    metric: Callable[[Array, Array], float], anomalous: Array, scores: Array
) -> float | None:
    """The metric, or None where it, or a score, is not a number."""
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != np.shape(anomalous):
        raise ValueError(f"scores are {list(values.shape)}, labels {list(np.shape(anomalous))}")
    return None if np.isnan(values).any() else _number(metric(anomalous, values))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
