"""Controls to compare with: DeepSVDD and a plain autoencoder."""

from methods.one_class.autoencoder import Autoencoder
from methods.one_class.deep_svdd import DeepSVDD

__all__ = ["Autoencoder", "DeepSVDD"]
