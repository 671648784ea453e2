"""Augmentations tuned by gradient while a detector trains (ST-SSAD)."""
