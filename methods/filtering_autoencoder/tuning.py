"""CutDiff of the corruption tuned by hypergradient while the autoencoder trains.

ST-SSAD (Yoo, Zhao and Akoglu, 2023, Eq. 5) with a filtering autoencoder as its detector. Every few
steps the network looks one step ahead on a batch whose images all carry a CutDiff,

    theta' = theta - alpha * (0.9 v + s * dL/dtheta),   L = the filtering loss (PAE, Eq. 1),

where v is the velocity that Adam's running mean of gradients stands for, s the share of CutDiff
among the corruptions and alpha what makes the step as long as Adam's; all three are constants. Then
the parameters of the CutDiff descend the total derivative of the validation loss (ST-SSAD, Eq. 3)
of the embeddings at theta', along three paths: the corrupted images, the mask in the training loss,
and theta'. The network itself goes on with Adam; the step ahead is thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from methods.augmentation.contract import Draw
from methods.augmentation.cutdiff import CUTDIFF_SIGNED
from methods.contract import Context
from methods.corruption.cutdiff import CutDiffDraw, paint_cutdiff, settings_of, vector_of
from methods.corruption.kinds import ALL
from methods.corruption.recipe import CorruptionRecipe
from methods.networks.unet import UNet
from methods.self_tuning.hypergradient import hypergradient
from methods.self_tuning.inner_step import InnerStep, Losses, Network
from methods.self_tuning.losses import Alignment
from methods.self_tuning.outer_step import TunedVector
from methods.self_tuning.workers import join
from methods.training.embedding import Standardiser, blocks
from methods.training.loss import filtering_loss


class Features(nn.Module):
    """A U-Net whose call answers with its bottleneck features too."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.with_features(images)


class CorruptionTuning:
    """The CutDiff parameters of one trial, and how they move."""

    def __init__(
        self,
        recipe: CorruptionRecipe,
        values: Mapping[str, Any],
        size: tuple[int, int],
        context: Context,
    ) -> None:
        self.values, self.context = values, context
        start = vector_of(recipe, size)
        self.tuned = TunedVector(CUTDIFF_SIGNED, start, size, values["tuning_rate"])
        weight = sum(recipe.kind_share(name) for name in ALL)
        self.share = (1 - recipe.clean_share) * recipe.kind_share("cutdiff") / weight

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

    def move(
        self,
        network: UNet,
        optimiser: torch.optim.Adam,
        *,
        clean: Tensor,
        noise: tuple[Tensor, Tensor],
        test: Tensor,
        draw: Draw,
    ) -> float:
        """One step down the hypergradient; the validation loss after the step ahead.

        `clean` and `test` are this worker's training and unlabelled images `[B, 3, H, W]`, `noise`
        what is added to input and target, `draw` the places of the patches. Raises Diverged where
        a loss is not finite and VanishedGradient where the patch changes nothing.
        """
        found = hypergradient(
            Features(network),
            self.tuned.vector,
            lambda vector: painted(clean, vector, draw),
            losses(clean, noise, test, self.values, self.context),
            inner_step(optimiser, self.share),
            velocity=velocity(network, optimiser, self.share),
            order=self.values["order"],
            context=self.context,
        )
        assert isinstance(found.gradient, Tensor)
        self.tuned.move(found.gradient)
        return found.validation_loss


def painted(images: Tensor, vector: Tensor, draw: Draw) -> Tensor:
    """Opaque CutDiffs on images, and their masks as a fourth channel: `[B, 4, H, W]`.

    Both depend on the vector `[4]`, and so the loss does along both.
    """
    rows = vector.to(images.dtype).expand(len(images), -1)
    changed, mask = paint_cutdiff(images, CutDiffDraw(draw["centre"], *rows.unbind(dim=1)))
    return torch.cat([changed, mask], dim=1)


def losses(
    clean: Tensor,
    noise: tuple[Tensor, Tensor],
    test: Tensor,
    values: Mapping[str, Any],
    context: Context,
) -> Losses:
    """The filtering loss of a batch that `painted` made, and the alignment of its embeddings."""

    aligned = Alignment.of(values)

    def training(network: Network, batch: Tensor) -> Tensor:
        output, _ = network(batch[:, :3] + noise[0])
        mask = batch[:, 3:]
        return filtering_loss(output, clean + noise[1], mask, values["mask_weight"]).mean()

    def validation(network: Network, batch: Tensor) -> Tensor:
        sets = [_blocks(network, images, context) for images in (clean, batch[:, :3], test)]
        # its scale belongs to the derivative too: held, embeddings could shrink for nothing
        standardiser = Standardiser.measured(*sets[0])
        return aligned(*(standardiser(*parts) for parts in sets))

    return Losses(tuned=training, validation=validation)


def _blocks(network: Network, images: Tensor, context: Context) -> tuple[Tensor, ...]:
    output, features = network(images)
    parts = blocks(features, images, output.clamp(0.0, 1.0))
    return tuple(join(part, context) for part in parts)


def inner_step(optimiser: torch.optim.Adam, share: float) -> InnerStep:
    """Gradient descent with momentum whose step is as long as Adam's next one would be.

    `share` weighs the gradient: of the training's corruptions, that part is what is tuned.
    """
    group = optimiser.param_groups[0]
    first, second = group["betas"]
    # All parameters have seen as many steps.
    steps = float(optimiser.state[group["params"][0]]["step"])
    lengths = []
    for parameter in group["params"]:
        state = optimiser.state[parameter]
        mean = state["exp_avg"] / (1 - first**steps)
        square = state["exp_avg_sq"] / (1 - second**steps)
        step = mean / (square.sqrt() + group["eps"])
        run = state["exp_avg"] / (1 - first)
        lengths.append(torch.stack([step.square().sum(), run.square().sum()]).double())
    ahead, running = torch.stack(lengths).sum(0).tolist()
    ratio = math.sqrt(ahead / max(running, 1e-30))
    return InnerStep(max(share * group["lr"] * ratio, 1e-12), momentum=first)


def velocity(network: UNet, optimiser: torch.optim.Adam, share: float) -> dict[str, Tensor]:
    """Adam's running mean of gradients as the velocity of plain momentum, by name in `Features`.

    Divided by the share that the step's rate is multiplied with: it is a mean over all corruptions.
    """
    scale = (1 - optimiser.param_groups[0]["betas"][0]) * share
    return {
        f"network.{name}": cast(Tensor, optimiser.state[parameter]["exp_avg"]) / scale
        for name, parameter in network.named_parameters()
    }
