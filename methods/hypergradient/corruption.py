"""CutDiff of a corruption, tuned by hypergradient while an autoencoder trains.

ST-SSAD (Yoo, Zhao and Akoglu, 2023, Eq. 5) with a filtering autoencoder as its detector. Every few
steps the network looks one step ahead on a batch whose images all carry a CutDiff,

    theta' = theta - alpha * (0.9 v + s * dL/dtheta),   L = the filtering loss (PAE, Eq. 1),

where v is the velocity that Adam's running mean of gradients stands for, s the share of CutDiff
among what is trained on and alpha what makes the step as long as Adam's (see `adam`). Then the
parameters of the CutDiff descend the total derivative of the validation loss (ST-SSAD, Eq. 3) of
the embeddings at theta', along three paths: the corrupted images, the mask in the training loss,
and theta'. The network itself goes on with Adam; the step ahead is thrown away.

The network may work on the pixels or on anything that can be differentiated in them, such as the
features of a frozen network (`CorruptionSpace`): of these only the first derivative is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from methods.augmentation.contract import Draw
from methods.augmentation.cutdiff import CUTDIFF_SIGNED
from methods.contract import Context
from methods.corruption.cutdiff import CutDiffDraw, paint_cutdiff, settings_of, vector_of
from methods.corruption.kinds import ALL
from methods.corruption.recipe import CorruptionRecipe
from methods.criteria.alignment import Alignment
from methods.hypergradient.adam import momentum_of
from methods.hypergradient.derivative import Hypergradient, hypergradient
from methods.hypergradient.inner_step import Losses, Network
from methods.hypergradient.outer_step import TunedVector
from methods.hypergradient.workers import join
from methods.training.embedding import Standardiser
from methods.training.loss import filtering_loss


class CorruptionSpace(Protocol):
    """Where a family's networks work, and what its detectors embed."""

    def enter(self, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Images `[B, 3, H, W]` in [0, 1] as the network takes them, `[B, C, h, w]`, and their mask
        `[B, 1, H, W]` on its grid, with the graph to both."""
        ...

    def blocks(self, inputs: Tensor, output: Tensor, code: Tensor) -> tuple[Tensor, ...]:
        """The blocks `[B, D_i]` of the embedding, not standardised, of a network's inputs, its
        output and its code."""
        ...


class CodedAutoencoder(Protocol):
    """A network that shows its bottleneck."""

    def with_features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The output, like the input, and the code `[B, F, h', w']`."""
        ...


class Coded(nn.Module):
    """A network whose call answers with its code, too."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        network: CodedAutoencoder = self.network  # type: ignore[assignment]
        return network.with_features(inputs)


@dataclass(frozen=True)
class TuningBatch:
    """What one step of the corruption sees, this worker's part.

    `images` `[B, 3, H, W]` are normal, in [0, 1], `clean` the same and `test` the unlabelled ones
    as the network takes them, `[B, C, h, w]` and `[T, C, h, w]`. `on_input` and `on_target` are
    the noise, `draw` the places of the patches.
    """

    images: Tensor
    clean: Tensor
    test: Tensor
    on_input: Tensor
    on_target: Tensor
    draw: Draw


class CorruptionTuning:
    """The CutDiff parameters of one trial, and how they move."""

    def __init__(
        self,
        space: CorruptionSpace,
        recipe: CorruptionRecipe,
        values: Mapping[str, Any],
        size: tuple[int, int],
        context: Context,
        *,
        corrupted_share: float = 1.0,
    ) -> None:
        """`corrupted_share` is the part of what the network trains on that the recipe corrupts."""
        self.space, self.values, self.context = space, values, context
        self.aligned, start = Alignment.of(values), vector_of(recipe, size)
        self.tuned = TunedVector(CUTDIFF_SIGNED, start, size, values["tuning_rate"])
        self.kind_share = recipe.kind_share("cutdiff") / sum(recipe.kind_share(k) for k in ALL)
        self.share = corrupted_share * (1 - recipe.clean_share) * self.kind_share

    def settings(self) -> dict[str, float]:
        """The present parameters as hyperparameters by name."""
        return settings_of(self.tuned.vector)

    def moved(self, recipe: CorruptionRecipe) -> CorruptionRecipe:
        """The recipe with the present parameters."""
        settings: dict[str, Any] = dict(self.settings())
        return replace(recipe, **settings)

    def due(self, step: int) -> bool:
        """Whether the parameters move before this step of the network."""
        warm = max(1, round(self.values["warm_share"] * self.values["steps"]))
        return step >= warm and (step - warm) % int(self.values["inner_updates"]) == 0

    def move(self, network: nn.Module, optimiser: torch.optim.Adam, batch: TuningBatch) -> float:
        """One step down the hypergradient; the validation loss after the step ahead.

        Raises Diverged where a loss is not finite and VanishedGradient where the patch changes
        nothing.
        """
        found = self.hypergradient(network, optimiser, batch)
        assert isinstance(found.gradient, Tensor)
        self.tuned.move(found.gradient)
        return found.validation_loss

    def hypergradient(
        self, network: nn.Module, optimiser: torch.optim.Adam, batch: TuningBatch
    ) -> Hypergradient:
        """The derivative in the vector `[4]` of `cutdiff-signed`, where it is now."""
        coded = Coded(network)
        momentum = momentum_of(optimiser, coded, self.share)
        return hypergradient(
            coded,
            self.tuned.vector,
            lambda vector: self.space.enter(*painted(batch.images, vector, batch.draw)),
            self._losses(batch),
            momentum.step,
            velocity=momentum.velocity,
            order=self.values["order"],
            context=self.context,
        )

    def _losses(self, batch: TuningBatch) -> Losses:
        """The filtering loss of corrupted inputs and masks, and the alignment of embeddings."""
        values = self.values

        def training(network: Network, corrupted: tuple[Tensor, Tensor]) -> Tensor:
            inputs, mask = corrupted
            output, _ = network(inputs + batch.on_input)
            target = batch.clean + batch.on_target
            return filtering_loss(output, target, mask, values["mask_weight"]).mean()

        def validation(network: Network, corrupted: tuple[Tensor, Tensor]) -> Tensor:
            sets = [self._blocks(network, x) for x in (batch.clean, corrupted[0], batch.test)]
            # Its scale belongs to the derivative too: held, embeddings could shrink for nothing.
            standardiser = Standardiser.measured(*sets[0])
            return self.aligned(*(standardiser(*parts) for parts in sets))

        return Losses(tuned=training, validation=validation)

    def _blocks(self, network: Network, inputs: Tensor) -> tuple[Tensor, ...]:
        parts = self.space.blocks(inputs, *network(inputs))
        return tuple(join(part, self.context) for part in parts)


def painted(images: Tensor, vector: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Images with opaque CutDiffs and their masks `[B, 1, H, W]`, both with the graph to the vector
    `[4]`."""
    rows = vector.to(images.dtype).expand(len(images), -1)
    return paint_cutdiff(images, CutDiffDraw(draw["centre"], *rows.unbind(dim=1)))
