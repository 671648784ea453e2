"""Filtering and projecting autoencoders: `fae`, `pae` and `fae-tuned`."""

from methods.filtering_autoencoder.method import FilteringAutoencoder
from methods.filtering_autoencoder.variants import (
    ProjectingAutoencoder,
    TunedFilteringAutoencoder,
)

__all__ = ["FilteringAutoencoder", "ProjectingAutoencoder", "TunedFilteringAutoencoder"]
