"""Members of the family under names of their own: other defaults, and what they add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from methods.contract import TrialData
from methods.corruption.recipe import CorruptionRecipe
from methods.filtering_autoencoder.method import FilteringAutoencoder
from methods.hyperparameter import Hyperparameter, Value, at, by_name
from methods.registry import register_method
from methods.self_tuning.hyperparameters import TUNING


def _defaulting(
    declared: tuple[Hyperparameter, ...], **defaults: Value
) -> tuple[Hyperparameter, ...]:
    return tuple(replace(p, default=defaults.get(p.name, p.default)) for p in declared)


@register_method("pae")
class ProjectingAutoencoder(FilteringAutoencoder):
    """PAE: the filtering autoencoder without noise, judged by SSIM."""

    name: ClassVar[str]
    title: ClassVar[str] = "Projecting autoencoder"
    paper: ClassVar[str] = "Bauer et al., PAE (arXiv 2606.15280)"
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = _defaulting(
        FilteringAutoencoder.hyperparameters, noise_target="none"
    )


_SHARED = by_name(TUNING)
_UNTUNED = at(corruption_tuning="none")


@register_method("fae-tuned")
class TunedFilteringAutoencoder(FilteringAutoencoder):
    """A filtering autoencoder some of whose corruptions are CutDiffs that learn, by hypergradient,
    to look like the unlabelled batch's anomalies.

    See `methods.filtering_autoencoder.tuning` for the equation.
    """

    name: ClassVar[str]
    title: ClassVar[str] = "Filtering autoencoder with a learned CutDiff"
    paper: ClassVar[str] = (
        "ours; FAE (arXiv 2511.07233) and ST-SSAD (Yoo et al., 2023), Eq. 3 and 5"
    )
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        *_defaulting(FilteringAutoencoder.hyperparameters, cutdiff_share=1.0),
        Hyperparameter(
            "corruption_tuning",
            "hypergradient",
            "whether CutDiff's parameters move while the network trains",
            choices=("none", "hypergradient"),
        ),
        *(
            replace(_SHARED[name], unless=(_UNTUNED,))
            for name in ("tuning_rate", "warm_share", "order", "alignment")
        ),
        replace(_SHARED["mmd_kernel"], unless=(*_SHARED["mmd_kernel"].unless, _UNTUNED)),
        replace(
            _SHARED["inner_updates"],
            default=4,
            help="updates of the network for each of the corruption",
            source="ours; ST-SSAD has 1, and 5 for digits",
            unless=(_UNTUNED,),
        ),
    )

    def check(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> None:
        """Raise ValueError where `fae` would, or where there is no CutDiff to tune."""
        super().check(data, hyperparameters)
        values = self._complete(hyperparameters)
        if values["corruption_tuning"] == "none":
            return
        recipe = CorruptionRecipe.from_values(values)
        if recipe.kind_share("cutdiff") <= 0:
            raise ValueError(
                "cutdiff_share is 0, so that there is nothing to tune; raise it, or set"
                " corruption_tuning=none"
            )
        if recipe.cutdiff_amplitude == 0:
            raise ValueError(
                "cutdiff_amplitude is 0, at which a patch changes nothing and has no gradient;"
                " start above 0 for dark patches, below 0 for bright ones"
            )

    def learned(
        self, hyperparameters: Mapping[str, Value], tuned: Mapping[str, float]
    ) -> dict[str, Value]:
        """The hyperparameters with the CutDiff that `Progress.tuned` stands for."""
        return {**hyperparameters, **tuned}

    def starts(self, hyperparameters: Mapping[str, Value]) -> list[dict[str, Value]]:
        """One: what is learned here is a corruption among others, and no trial hangs on it."""
        return [dict(hyperparameters)]

    def augmentation(self, hyperparameters: Mapping[str, Value]) -> str:
        """Name of the augmentation that is learned."""
        return "cutdiff-signed"

    def warnings(self, diagnostics: Mapping[str, float]) -> list[str]:
        """None: `diagnostics` describe the reconstruction, not the tuning."""
        return []

    def comparable(self, diagnostics: Mapping[str, float]) -> bool:
        """Always: there are no siblings to choose among."""
        return True
