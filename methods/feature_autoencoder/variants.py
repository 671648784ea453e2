"""The feature autoencoder whose CutDiff corruption learns while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from methods.contract import TrialData
from methods.feature_autoencoder.method import FeatureAutoencoder
from methods.hypergradient.variant import CORRUPTION_TUNING, LearnsCutDiff, check_tuning, tunes
from methods.hyperparameter import Hyperparameter, Value


class TunedFeatureAutoencoder(LearnsCutDiff, FeatureAutoencoder):
    """A feature autoencoder some of whose corruptions are CutDiffs that learn, by hypergradient
    through the frozen network, to look like the unlabelled batch's anomalies.

    See `methods.hypergradient.corruption` for the equation.
    """

    name: ClassVar[str] = "feature-fae-tuned"
    title: ClassVar[str] = "Feature-space filtering autoencoder with a learned CutDiff"
    paper: ClassVar[str] = (
        "ours; FAE (arXiv 2511.07233) on frozen features, and ST-SSAD (Yoo et al., 2023), Eq. 3"
        " and 5"
    )
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        *(
            replace(p, default=1.0) if p.name == "cutdiff_share" else p
            for p in FeatureAutoencoder.hyperparameters
        ),
        *CORRUPTION_TUNING,
    )

    def check(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> None:
        """Raise ValueError where `feature-fae` would, or where there is no CutDiff to tune."""
        super().check(data, hyperparameters)
        values = self._complete(hyperparameters)
        check_tuning(values)
        if tunes(values) and values["corrupted_share"] == 0:
            raise ValueError(
                "corrupted_share is 0, so that no image carries the CutDiff that is tuned; raise"
                " it, or set corruption_tuning=none"
            )
