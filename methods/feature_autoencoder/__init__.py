"""Filtering autoencoders on features of a frozen network: `feature-fae` and `feature-fae-tuned`."""

from methods.feature_autoencoder.method import FeatureAutoencoder
from methods.feature_autoencoder.variants import TunedFeatureAutoencoder

__all__ = ["FeatureAutoencoder", "TunedFeatureAutoencoder"]
