"""Synthetic defects that judge a detector: families, and sets of images made with them.

They share no code with the corruptions that methods train with, and a family that a method trains
with under the same name can be left out.
"""

from methods.criteria.defects.build import FAMILIES, SyntheticSet, build_synthetic

__all__ = ["FAMILIES", "SyntheticSet", "build_synthetic"]
