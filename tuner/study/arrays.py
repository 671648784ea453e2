"""The images of a study in the form in which trials share them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.backbones.table import FeatureTable
from methods.contract import TrialData
from methods.criteria.defects import SyntheticSet


@dataclass(frozen=True)
class StudyArrays:
    """What all trials of a study share, as numpy arrays that a node's trials read without copying.

    Shapes as in `TrialData`; `synthetic` is the study's set of pasted defects, `features` hold what
    frozen networks say of all these images.
    """

    train: np.ndarray
    held_out: np.ndarray
    test: np.ndarray
    synthetic: Mapping[str, Any]
    textures: np.ndarray | None = None
    features: tuple[Mapping[str, Any], ...] = ()

    def trial_data(self) -> TrialData:
        pool = None if self.textures is None else _tensor(self.textures)
        return TrialData(
            _tensor(self.train),
            _tensor(self.held_out),
            _tensor(self.test),
            pool,
            tuple(_unpacked(table) for table in self.features),
        )

    def with_features(self, tables: Sequence[FeatureTable]) -> StudyArrays:
        """The same, with features of its images."""
        return dataclasses.replace(self, features=tuple(_packed(table) for table in tables))

    def synthetic_set(self, device: torch.device) -> SyntheticSet:
        packed = dict(self.synthetic)
        families = tuple(packed.pop("families"))
        tensors = {name: _tensor(value).to(device) for name, value in packed.items()}
        return SyntheticSet(families=families, **tensors)


def pack_synthetic(synthetic: SyntheticSet) -> dict[str, Any]:
    """A synthetic set as numpy arrays and strings."""
    return {
        f.name: value.numpy() if isinstance(value, Tensor) else value
        for f in dataclasses.fields(synthetic)
        for value in (getattr(synthetic, f.name),)
        if value is not None
    }


def _packed(table: FeatureTable) -> dict[str, Any]:
    return {
        "digest": table.digest,
        "strides": table.strides,
        "scale": table.scale,
        "keys": table.keys.numpy(),
        "maps": tuple(part.numpy() for part in table.maps),
    }


def _unpacked(packed: Mapping[str, Any]) -> FeatureTable:
    maps = tuple(_tensor(part) for part in packed["maps"])
    keys = _tensor(packed["keys"])
    return FeatureTable(packed["digest"], packed["strides"], keys, maps, packed["scale"])


def _tensor(array: np.ndarray) -> Tensor:
    # Arrays from an object store are read-only, which torch warns of; nothing here writes to them.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
