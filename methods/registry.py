"""Methods by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from methods.contract import Method
from methods.plugins import Registry

M = TypeVar("M", bound=Method)

METHODS: Registry[Method] = Registry(
    "method",
    "tuner.methods",
    {
        "ae": "methods.one_class.autoencoder:Autoencoder",
        "deep-svdd": "methods.one_class.deep_svdd:DeepSVDD",
        "energy-projection": "methods.energy_projection.method:EnergyProjection",
        "fae": "methods.filtering_autoencoder.method:FilteringAutoencoder",
        "fae-tuned": "methods.filtering_autoencoder.variants:TunedFilteringAutoencoder",
        "feature-fae": "methods.feature_autoencoder.method:FeatureAutoencoder",
        "feature-fae-tuned": "methods.feature_autoencoder.variants:TunedFeatureAutoencoder",
        "filter-memory": "methods.filter_memory.method:FilterMemory",
        "pae": "methods.filtering_autoencoder.variants:ProjectingAutoencoder",
        "patch-memory": "methods.patch_memory.method:PatchMemory",
        "random-dynamic": "methods.self_tuning.random_augmentation:RandomDynamic",
        "random-static": "methods.self_tuning.random_augmentation:RandomStatic",
        "st-ssad": "methods.self_tuning.method:SelfTuningDetector",
    },
)


def register_method(name: str) -> Callable[[type[M]], type[M]]:
    """Class decorator: make a method known under `name`. Raises ValueError for a name in use."""

    def register(cls: type[M]) -> type[M]:
        cls.name = name
        METHODS.add(name, cls())
        return cls

    return register


def method_names() -> list[str]:
    """All names, sorted."""
    return METHODS.names()


def get_method(name: str) -> Method:
    """The method of that name; raises ValueError listing the known names."""
    return METHODS.get(name)
