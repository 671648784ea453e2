"""The MLflow adapter: one writer, explicit run ids, batches."""

from tuner.tracking.store import default_artifacts, default_uri
from tuner.tracking.tracker import Tracker

__all__ = ["Tracker", "default_artifacts", "default_uri"]
