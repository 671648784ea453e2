"""Members of the family under names of their own: other defaults, and what they add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from methods.contract import TrialData
from methods.filtering_autoencoder.method import FilteringAutoencoder
from methods.hypergradient.variant import CORRUPTION_TUNING, LearnsCutDiff, check_tuning
from methods.hyperparameter import Hyperparameter, Value


def _defaulting(
    declared: tuple[Hyperparameter, ...], **defaults: Value
) -> tuple[Hyperparameter, ...]:
    return tuple(replace(p, default=defaults.get(p.name, p.default)) for p in declared)


class ProjectingAutoencoder(FilteringAutoencoder):
    """PAE: the filtering autoencoder without noise, judged by SSIM."""

    name: ClassVar[str] = "pae"
    title: ClassVar[str] = "Projecting autoencoder"
    paper: ClassVar[str] = "Bauer et al., PAE (arXiv 2606.15280)"
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = _defaulting(
        FilteringAutoencoder.hyperparameters, noise_target="none"
    )


class TunedFilteringAutoencoder(LearnsCutDiff, FilteringAutoencoder):
    """A filtering autoencoder some of whose corruptions are CutDiffs that learn, by hypergradient,
    to look like the unlabelled batch's anomalies.

    See `methods.hypergradient.corruption` for the equation.
    """

    name: ClassVar[str] = "fae-tuned"
    title: ClassVar[str] = "Filtering autoencoder with a learned CutDiff"
    paper: ClassVar[str] = (
        "ours; FAE (arXiv 2511.07233) and ST-SSAD (Yoo et al., 2023), Eq. 3 and 5"
    )
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        *_defaulting(FilteringAutoencoder.hyperparameters, cutdiff_share=1.0),
        *CORRUPTION_TUNING,
    )

    def check(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> None:
        """Raise ValueError where `fae` would, or where there is no CutDiff to tune."""
        super().check(data, hyperparameters)
        check_tuning(self._complete(hyperparameters))
