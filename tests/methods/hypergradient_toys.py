"""A small smooth network, losses and a reference for the hypergradient."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from methods.augmentation import Draw, get_augmentation
from methods.augmentation.cutdiff import CUTDIFF_SIGNED
from methods.contract import Context
from methods.corruption.recipe import CorruptionRecipe
from methods.criteria.alignment import validation_loss
from methods.hypergradient.adam import momentum_of
from methods.hypergradient.corruption import (
    CorruptionSpace,
    CorruptionTuning,
    TuningBatch,
    painted,
)
from methods.hypergradient.inner_step import InnerStep, Losses, Network
from methods.hypergradient.workers import join
from methods.networks.resnet import Projected
from methods.training.embedding import Standardiser
from methods.training.loss import filtering_loss

SIZE = (10, 12)
BATCH = 4
INNER = InnerStep(0.1, momentum=0.9, weight_decay=1e-3)
GENERIC = {
    "log_size": math.log(0.05),
    "log_ratio": 0.2,
    "angle": 0.7,
    "amplitude": -0.45,
    "red": 0.3,
    "green": -0.6,
    "blue": 0.45,
    "log_width": math.log(0.1),
    "log_length": math.log(0.4),
    "spread": 0.5,
    "bend": 0.4,
    "opacity": 0.7,
    "jitter": 0.2,
    "l11": 0.25,
    "l21": 0.05,
    "l22": 0.2,
}


class Smooth(nn.Module):
    """A small twice differentiable network with an embedding and logits."""

    def __init__(self, normalise: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1), normalise(4), nn.GELU(), nn.Conv2d(4, 6, 3, 2, 1), nn.GELU()
        )
        self.head = nn.Linear(6, 2)

    def forward(self, images: Tensor) -> Projected:
        features = self.trunk(images).mean((2, 3))
        return Projected(functional.normalize(features, dim=1), self.head(features))


def smooth(normalise: Callable[[int], nn.Module] = lambda c: nn.GroupNorm(2, c)) -> Smooth:
    torch.manual_seed(0)
    return Smooth(normalise).double()


def picture(batch: int, seed: int, size: tuple[int, int] = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(batch, 3, *size, generator=generator, dtype=torch.float64)
    return 0.1 + 0.8 * noise


def alignment(train: Tensor, corrupted: Tensor, test: Tensor) -> Tensor:
    """ST-SSAD, Eq. 2 and 3, as a mean over the test embeddings."""
    rows = torch.cat([train, corrupted, test])
    middle = rows.mean(0)
    scale = math.sqrt(len(rows)) / (rows - middle).norm()
    train, corrupted, test = ((z - middle) * scale for z in (train, corrupted, test))
    to_train = (test - train.mean(0)).norm(dim=1)
    to_corrupted = (test - corrupted.mean(0)).norm(dim=1)
    return (to_train + to_corrupted).mean() / 2


def losses(
    normal: Tensor, test: Tensor, context: Context | None = None, apart: bool = True
) -> Losses:
    """Two-class training and alignment; `apart` says which part does not see augmented images."""
    context = context or Context()

    def classify(network: Network, images: Tensor, label: int) -> Tensor:
        labels = torch.full((len(images),), label)
        return functional.cross_entropy(network(images).logits, labels) / 2

    def fixed(network: Network) -> Tensor:
        return classify(network, normal, 0)

    def tuned(network: Network, augmented: Tensor) -> Tensor:
        loss = classify(network, augmented, 1)
        return loss if apart else fixed(network) + loss

    def validation(network: Network, augmented: Tensor) -> Tensor:
        sets = [network(images).embedding for images in (normal, augmented, test)]
        return alignment(*(join(rows, context) for rows in sets))

    return Losses(tuned, validation, fixed if apart else None)


def one_graph(
    network: nn.Module,
    vector: Tensor,
    augment: Callable[[Tensor], Tensor],
    losses: Losses,
    inner: InnerStep,
    *,
    velocity: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The reference: one differentiable expression from the tuned vector to the validation loss."""
    theta = {n: p.detach().clone().requires_grad_() for n, p in network.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def call(parameters: dict[str, Tensor]) -> Network:
        return lambda images: functional_call(network, {**parameters, **buffers}, (images,))

    augmented = augment(vector)
    loss = losses.tuned(call(theta), augmented)
    if losses.fixed is not None:
        loss = loss + losses.fixed(call(theta))
    gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
    after = {}
    for (name, parameter), gradient in zip(theta.items(), gradients, strict=True):
        step = gradient + inner.weight_decay * parameter
        if velocity is not None:
            step = step + inner.momentum * velocity[name]
        after[name] = parameter - inner.learning_rate * step
    validation = losses.validation(call(after), augmented)
    return validation, torch.autograd.grad(validation, vector)[0]


def case(name: str, seed: int = 1) -> tuple[Tensor, Callable[[Tensor], Tensor], Losses, Draw]:
    """A vector, what it makes of a batch, and the losses, all in float64."""
    augmentation = get_augmentation(name)
    normal, test = picture(BATCH, seed), picture(BATCH + 1, seed + 1)
    draw = augmentation.draw(BATCH, SIZE, torch.Generator().manual_seed(seed))
    vector = augmentation.vector(
        {n: GENERIC.get(n.rsplit(".")[-1], 0.1) for n in augmentation.names}
    )

    def augment(parameters: Tensor) -> Tensor:
        return augmentation.apply(normal, parameters, draw)

    return vector, augment, losses(normal, test), draw


def some_velocity(network: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(9)
    return {
        name: 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for name, p in network.named_parameters()
    }


def as_tensor(value: Tensor | Mapping[str, Tensor]) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def tuning_at(
    space: CorruptionSpace, recipe: CorruptionRecipe, size: tuple[int, int]
) -> CorruptionTuning:
    """A CutDiff in float64, amid its bounds, that is neither round nor upright."""
    values = {
        "tuning_rate": 0.05, "order": "exact", "alignment": "validation_loss", "mask_weight": 0.4,
        "mmd_kernel": "linear",
    }  # fmt: skip
    tuning = CorruptionTuning(space, recipe, values, size, Context())
    start = {"log_size": math.log(0.05), "log_ratio": 0.2, "angle": 0.4, "amplitude": 0.2}
    tuning.tuned.vector = CUTDIFF_SIGNED.vector(start)
    return tuning


def equals_finite_differences(
    tuning: CorruptionTuning,
    network: nn.Module,
    optimiser: torch.optim.Adam,
    batch: TuningBatch,
) -> None:
    """Hold the tuning's hypergradient against slopes of a step that is written out."""
    space, share, values = tuning.space, tuning.share, tuning.values
    rate = momentum_of(optimiser, network, share).step.learning_rate / share

    def by_hand(moved: Tensor) -> float:
        """One step on a copy of the network, then the loss of its embeddings."""
        ahead = copy.deepcopy(network).requires_grad_(True)
        inputs, mask = space.enter(*painted(batch.images, moved, batch.draw))
        loss = filtering_loss(
            ahead(inputs + batch.on_input),
            batch.clean + batch.on_target,
            mask,
            values["mask_weight"],
        ).mean()
        gradients = torch.autograd.grad(loss, list(ahead.parameters()))
        with torch.no_grad():
            for parameter, own, gradient in zip(
                ahead.parameters(), network.parameters(), gradients, strict=True
            ):
                mean = optimiser.state[own]["exp_avg"] / (1 - 0.9)
                parameter.sub_(rate * (0.9 * mean + share * gradient))
            sets = [
                space.blocks(x, *ahead.with_features(x))  # type: ignore[operator]
                for x in (batch.clean, inputs, batch.test)
            ]
            scale = Standardiser.measured(*sets[0])
            return float(validation_loss(*(scale(*parts) for parts in sets)))

    vector, found = tuning.tuned.vector, tuning.hypergradient(network, optimiser, batch)
    assert found.validation_loss == pytest.approx(by_hand(vector), rel=1e-9)
    assert isinstance(found.gradient, Tensor) and found.cosine is not None
    for i in range(4):
        nudge = torch.zeros(4, dtype=torch.float64)
        # A longer one steps over kinks of ReLU6.
        nudge[i] = 1e-6
        slope = (by_hand(vector + nudge) - by_hand(vector - nudge)) / 2e-6
        assert float(found.gradient[i]) == pytest.approx(slope, rel=1e-6, abs=1e-8)
