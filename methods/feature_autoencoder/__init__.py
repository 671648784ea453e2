"""Filtering autoencoders on features of a frozen network."""

from methods.feature_autoencoder.method import FeatureAutoencoder

__all__ = ["FeatureAutoencoder"]
