"""What a method says of itself whose CutDiff corruption learns while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from methods.corruption.recipe import CorruptionRecipe
from methods.hypergradient.hyperparameters import (
    ALIGNMENT,
    INNER_UPDATES,
    KERNEL,
    ORDER,
    RATE,
    WARM_SHARE,
)
from methods.hyperparameter import Hyperparameter, Value, at

_UNTUNED = at(corruption_tuning="none")

CORRUPTION_TUNING: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "corruption_tuning",
        "hypergradient",
        "whether CutDiff's parameters move while the network trains",
        choices=("none", "hypergradient"),
    ),
    *(replace(shared, unless=(_UNTUNED,)) for shared in (RATE, WARM_SHARE, ORDER, ALIGNMENT)),
    replace(KERNEL, unless=(*KERNEL.unless, _UNTUNED)),
    replace(
        INNER_UPDATES,
        default=4,
        help="updates of the network for each of the corruption",
        source="ours; ST-SSAD has 1, and 5 for digits",
        unless=(_UNTUNED,),
    ),
)


def tunes(values: Mapping[str, Any]) -> bool:
    """Whether a trial with these hyperparameters learns its CutDiff."""
    return bool(values.get("corruption_tuning") == "hypergradient")


def check_tuning(values: Mapping[str, Any]) -> None:
    """Raise ValueError where there is to be learned, but no CutDiff to learn."""
    if not tunes(values):
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


class LearnsCutDiff:
    """The part of `TuningMethod` that methods with a learned CutDiff have in common."""

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
