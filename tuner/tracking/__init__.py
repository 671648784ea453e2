"""The MLflow adapter: one writer, explicit run ids, batches."""

from tuner.tracking.store import artifacts_of, default_artifacts, default_uri
from tuner.tracking.tracker import Tracker

__all__ = ["Tracker", "artifacts_of", "default_artifacts", "default_uri"]
