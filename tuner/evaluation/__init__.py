"""Metrics, and the audit that opens labels after a study has ended."""

from tuner.evaluation.audit import Contender, audit_contenders, open_labels, rank_trials
from tuner.evaluation.image_metrics import image_ap, image_auroc, image_f1_max
from tuner.evaluation.pixel_metrics import PixelMetrics, aupro, pixel_metrics
from tuner.evaluation.regions import Regions, find_regions

__all__ = [
    "Contender",
    "PixelMetrics",
    "Regions",
    "audit_contenders",
    "aupro",
    "find_regions",
    "image_ap",
    "image_auroc",
    "image_f1_max",
    "open_labels",
    "pixel_metrics",
    "rank_trials",
]
