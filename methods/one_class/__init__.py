"""Controls to compare with: random augmentation, DeepSVDD and a plain autoencoder."""

from methods.one_class.autoencoder import Autoencoder
from methods.one_class.deep_svdd import DeepSVDD
from methods.one_class.random_augmentation import RandomDynamic, RandomStatic

__all__ = ["Autoencoder", "DeepSVDD", "RandomDynamic", "RandomStatic"]
