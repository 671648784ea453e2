"""Filtering and projecting autoencoders; importing this registers the method `fae`."""

from methods.filtering_autoencoder.method import FilteringAutoencoder

__all__ = ["FilteringAutoencoder"]
