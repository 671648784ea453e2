"""Gradient descent on an energy in input space (Dehaene et al., Eq. 4, 5, 7 and 8).

The energy of an image is `E(x_t) = L_r(x_t) + lambda ||x_t - x_0||_1`. Its gradient flows through
the reconstruction. Images that have reached the stop rule are frozen, and nothing is computed for
them any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from methods.contract import Diverged

Update = Literal["standard", "weighted"]
Optimiser = Literal["plain", "adam"]
# Losses `[B]` and reconstructions of images `[B, C, H, W]`, both differentiable in the images.
Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]

HALVINGS = 10
_SHORTEST = 2.0**-HALVINGS
_TOO_FAR = 2.0
_ROUNDING = 1e-5
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class ProjectionDiverged(Diverged):
    """Images whose energy is not finite as they are: there is nowhere to walk from."""


@dataclass(frozen=True)
class Descent:
    """How to walk: one path through input space is fixed by these.

    `update` is Eq. 5 (standard) or Eq. 8 (weighted by the squared reconstruction error), `plain`
    steps have the length `step_size` (alpha), Adam's are about `step_size` a pixel. `l1_weight` is
    lambda. An image is finished where its loss is at `threshold` or below.
    """

    update: Update = "weighted"
    optimiser: Optimiser = "plain"
    step_size: float = 0.5
    l1_weight: float = 0.05
    threshold: float = -math.inf


@dataclass(frozen=True)
class Projection:
    """Where a walk came to, and how it went for each image.

    `images` are those after each number of iterations that was asked for, each `[B, C, H, W]` in
    [0, 1]. `stalled` `[B]`: no halving of its step lowers an image's energy any more, so it has
    converged (3.5). `diverged` `[B]`: where an image would go next its energy is more than twice
    that of the image as given, or not finite. Both kinds are where their energy was lowest.
    """

    images: list[Tensor]
    stalled: Tensor
    diverged: Tensor


def project(
    evaluate: Evaluate,
    images: Tensor,
    descent: Descent,
    counts: Sequence[int],
    mask: Tensor | None = None,
) -> Projection:
    """Walk from images `[B, C, H, W]` in [0, 1]; one walk serves all of `counts`.

    A `mask` that broadcasts to the images multiplies the gradient (Eq. 7). Where a step of an image
    does not lower its energy, or leads to one that is not finite, it is taken back, and the image
    goes on with half of it; the others do not notice. After ten halvings it stays where its energy
    was lowest. Raises `ProjectionDiverged` where the energy of an image as given is not
    finite.
    """
    last, found = max(counts, default=0), {}
    # A caller's inference mode would forbid the gradient.
    with torch.inference_mode(False), torch.no_grad():
        walk = _Walk(evaluate, images, descent, mask)
        for count in range(last + 1):
            walk.look(final=count == last)
            if count in counts:
                found[count] = walk.images()
            if walk.finished or count == last:
                break
            walk.move()
        end = walk.images()
    return Projection([found.get(count, end) for count in counts], walk.stalled, walk.diverged)


class _Walk:
    """The images that still move, and where they came from."""

    def __init__(
        self, evaluate: Evaluate, images: Tensor, descent: Descent, mask: Tensor | None
    ) -> None:
        self.evaluate, self.descent = evaluate, descent
        self.all = images.detach().clone()
        self.index = torch.arange(len(images), device=images.device)
        self.stalled = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self.diverged = self.stalled.clone()
        self.start = self.at = self.all.clone()
        self.mask = None if mask is None else mask.to(images).expand_as(images)
        self.scale = images.new_ones(len(images))
        # Energy at the start and at the last point that was kept, that point, and the step from it.
        self.first = self.energy = images.new_full((len(images),), math.inf)
        self.before, self.last_step = self.start, torch.zeros_like(self.start)
        self.moments: tuple[Tensor, Tensor] | None = None
        self.looks, self.steps = 0, 0
        # What the last look found; without a gradient after the final one.
        self.rose: Tensor | None = None
        self.gradient = self.error = self.start

    @property
    def finished(self) -> bool:
        return len(self.index) == 0

    def images(self) -> Tensor:
        """All images as they are now."""
        now = self.all.clone()
        now[self.index] = self.at
        return now

    def look(self, final: bool) -> None:
        """Judge where the images have come to: turn back those whose energy rose, freeze those
        that are finished, and take the gradient at all others, unless this is the `final` look."""
        at = self.at.detach().requires_grad_(not final)
        with torch.set_grad_enabled(not final):
            losses, reconstruction = self.evaluate(at)
            if not final:
                (self.gradient,) = torch.autograd.grad(losses.sum(), at)
                self.error = self.at - reconstruction.detach()
        energy = losses = losses.detach()
        weight = self.descent.l1_weight
        if weight:
            moved = self.at - self.start
            energy = losses + weight * moved.abs().flatten(1).sum(1)
            if not final:
                self.gradient = self.gradient.add(moved.sign_(), alpha=weight)
        if self.looks == 0:
            self._check(energy)
            self.first = energy
        self.looks += 1
        rose = ~(energy <= self.energy * (1 + _ROUNDING))
        self.rose = rose if bool(rose.any()) else None
        if self.rose is not None:
            self._turn_back(rose, energy, final)
        self.energy = torch.where(rose, self.energy, energy)
        done = ((losses <= self.descent.threshold) & ~rose) | (self.scale < _SHORTEST)
        if bool(done.any()):
            self._freeze(done)

    def move(self) -> None:
        """One step of every image that still moves."""
        self.steps += 1
        step = self._direction(self.gradient, self.error)
        if self.rose is not None:
            step = torch.where(self.rose.view(-1, 1, 1, 1), self.last_step / 2, step)
        self.before, self.last_step = self.at, step
        self.at = (self.at - step).clamp_(0.0, 1.0)

    def _direction(self, gradient: Tensor, error: Tensor) -> Tensor:
        """What is taken from the images, already of its full length."""
        descent = self.descent
        if descent.update == "weighted":
            gradient = gradient * error.square_()
        if self.mask is not None:
            gradient = gradient * self.mask
        if descent.optimiser == "adam":
            gradient = self._adam(gradient)
        return gradient * (descent.step_size * self.scale.view(-1, 1, 1, 1))

    def _adam(self, gradient: Tensor) -> Tensor:
        if self.moments is None:
            self.moments = (torch.zeros_like(gradient), torch.zeros_like(gradient))
        mean, square = self.moments
        (first, second), t = _BETAS, self.steps
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        length = (square / (1 - second**t)).sqrt_().add_(_EPSILON)
        return (mean / (1 - first**t)).div_(length)

    def _turn_back(self, rose: Tensor, energy: Tensor, final: bool) -> None:
        """Put images whose energy rose back before their last step, and halve their steps."""
        self.scale = torch.where(rose, self.scale / 2, self.scale)
        stuck = self.scale < _SHORTEST
        lost = ~(energy <= _TOO_FAR * self.first)
        self.stalled[self.index[stuck & ~lost]] = True
        self.diverged[self.index[(rose if final else stuck) & lost]] = True
        rows = rose.view(-1, 1, 1, 1)
        self.at = torch.where(rows, self.before, self.at)
        if self.moments is not None:
            # What Adam saw where the energy rose is forgotten.
            for moment in self.moments:
                moment.masked_fill_(rows, 0.0)

    def _freeze(self, done: Tensor) -> None:
        self.all[self.index[done]] = self.at[done]
        keep = ~done
        self.index, self.at, self.start = self.index[keep], self.at[keep], self.start[keep]
        self.before, self.last_step = self.before[keep], self.last_step[keep]
        self.gradient, self.error = self.gradient[keep], self.error[keep]
        self.scale, self.first, self.energy = self.scale[keep], self.first[keep], self.energy[keep]
        if self.rose is not None:
            self.rose = self.rose[keep]
        if self.mask is not None:
            self.mask = self.mask[keep]
        if self.moments is not None:
            self.moments = (self.moments[0][keep], self.moments[1][keep])

    def _check(self, energy: Tensor) -> None:
        wrong = ~energy.isfinite()
        if not bool(wrong.any()):
            return
        row = int(wrong.nonzero()[0])
        raise ProjectionDiverged(
            f"the energy of {int(wrong.sum())} of {len(energy)} images is not finite before the "
            f"first step (image {row}: {float(energy[row]):g}), so no step_size (here "
            f"{self.descent.step_size:g}) can help: the images or the network hold values that are "
            "not finite; train again with a smaller learning_rate"
        )
