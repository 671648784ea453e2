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

Update = Literal["standard", "weighted"]
Optimiser = Literal["plain", "adam"]
# Losses `[B]` and reconstructions of images `[B, C, H, W]`, both differentiable in the images.
Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]

LARGEST_STEP = 0.1
HALVINGS = 10
_TOO_FAR = 2.0
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class ProjectionDiverged(RuntimeError):
    """A projection whose loss grows or is not finite however small its steps are."""


@dataclass(frozen=True)
class Descent:
    """How to walk: one path through input space is fixed by these.

    `update` is Eq. 5 (standard) or Eq. 8 (weighted by the squared reconstruction error), `plain`
    steps have the length `step_size` (alpha), Adam's are about `step_size` a pixel. `l1_weight` is
    lambda. No pixel moves more than 0.1 in a step, which the steep energies of a learned decoder
    variance need. An image is finished where its loss is at `threshold` or below.
    """

    update: Update = "weighted"
    optimiser: Optimiser = "plain"
    step_size: float = 0.5
    l1_weight: float = 0.05
    threshold: float = -math.inf


def project(
    evaluate: Evaluate,
    images: Tensor,
    descent: Descent,
    counts: Sequence[int],
    mask: Tensor | None = None,
) -> list[Tensor]:
    """The images after each number of iterations in `counts`, each like `images`, in [0, 1].

    One walk serves all counts. A `mask` that broadcasts to the images multiplies the gradient
    (Eq. 7). Where the loss of an image has doubled since the start, or is not finite, the last
    step is taken back and the image goes on with half of it. Raises `ProjectionDiverged` where ten
    halvings do not help, or where the loss of an image as given is not finite.
    """
    # A caller's inference mode would forbid the gradient.
    with torch.inference_mode(False), torch.no_grad():
        walk = _Walk(evaluate, images, descent, mask)
        found = {0: walk.images()}
        for count in range(1, max(counts, default=0) + 1):
            walk.step()
            if count in counts:
                found[count] = walk.images()
            if walk.finished:
                break
        last = walk.images()
    if not bool(last.isfinite().all()):
        raise ProjectionDiverged(
            f"a projected image holds values that are not finite (step_size {descent.step_size:g},"
            f" l1_weight {descent.l1_weight:g}); a smaller step_size may help"
        )
    return [found.get(count, last) for count in counts]


class _Walk:
    """The images that still move, and where they came from."""

    def __init__(
        self, evaluate: Evaluate, images: Tensor, descent: Descent, mask: Tensor | None
    ) -> None:
        self.evaluate, self.descent = evaluate, descent
        self.all = images.detach().clone()
        self.index = torch.arange(len(images), device=images.device)
        self.start = self.at = self.all.clone()
        self.mask = None if mask is None else mask.to(images).expand_as(images)
        self.scale = images.new_ones(len(images))
        self.first: Tensor | None = None
        self.last_step = torch.zeros_like(self.start)
        self.before = self.start
        self.moments: tuple[Tensor, Tensor] | None = None
        self.steps = 0

    @property
    def finished(self) -> bool:
        return len(self.index) == 0

    def images(self) -> Tensor:
        """All images as they are now."""
        now = self.all.clone()
        now[self.index] = self.at
        return now

    def step(self) -> None:
        """One iteration of every image that still moves."""
        if self.finished:
            return
        losses, gradient, error = self._look()
        if self.first is None:
            self.first = losses
            self._refuse(~losses.isfinite(), losses, "before the first step")
        strayed = ~(losses <= _TOO_FAR * self.first)
        done = losses <= self.descent.threshold
        if bool(done.any()):
            self._freeze(done)
            keep = ~done
            losses, strayed, gradient, error = (
                part[keep] for part in (losses, strayed, gradient, error)
            )
            if self.finished:
                return
        self.steps += 1
        step = self._direction(gradient, error)
        if bool(strayed.any()):
            self._turn_back(strayed, step, losses)
        self.before, self.last_step = self.at, step
        self.at = (self.at - step).clamp_(0.0, 1.0)

    def _look(self) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, gradient of the energy without its L1 term, and x - f(x)."""
        with torch.enable_grad():
            at = self.at.detach().requires_grad_()
            losses, reconstruction = self.evaluate(at)
            (gradient,) = torch.autograd.grad(losses.sum(), at)
        return losses.detach(), gradient, self.at - reconstruction.detach()

    def _direction(self, gradient: Tensor, error: Tensor) -> Tensor:
        """What is taken from the images, already of its full length."""
        descent = self.descent
        if descent.l1_weight:
            gradient = gradient.add((self.at - self.start).sign_(), alpha=descent.l1_weight)
        if descent.update == "weighted":
            gradient = gradient * error.square_()
        if self.mask is not None:
            gradient = gradient * self.mask
        if descent.optimiser == "adam":
            gradient = self._adam(gradient)
        step = gradient * (descent.step_size * self.scale.view(-1, 1, 1, 1))
        return step.clamp_(-LARGEST_STEP, LARGEST_STEP)

    def _adam(self, gradient: Tensor) -> Tensor:
        if self.moments is None:
            self.moments = (torch.zeros_like(gradient), torch.zeros_like(gradient))
        mean, square = self.moments
        (first, second), t = _BETAS, self.steps
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        length = (square / (1 - second**t)).sqrt_().add_(_EPSILON)
        return (mean / (1 - first**t)).div_(length)

    def _turn_back(self, strayed: Tensor, step: Tensor, losses: Tensor) -> None:
        """Put strayed images back before their last step, and halve it."""
        self.scale = torch.where(strayed, self.scale / 2, self.scale)
        self._refuse(self.scale < 2.0**-HALVINGS, losses, f"after {HALVINGS} halvings of the step")
        rows = strayed.view(-1, 1, 1, 1)
        step.copy_(torch.where(rows, self.last_step / 2, step))
        self.at = torch.where(rows, self.before, self.at)
        if self.moments is not None:
            # What was learnt where the image strayed is forgotten.
            for moment in self.moments:
                moment.masked_fill_(rows, 0.0)

    def _freeze(self, done: Tensor) -> None:
        self.all[self.index[done]] = self.at[done]
        keep = ~done
        assert self.first is not None
        self.index, self.at, self.start = self.index[keep], self.at[keep], self.start[keep]
        self.before, self.last_step = self.before[keep], self.last_step[keep]
        self.scale, self.first = self.scale[keep], self.first[keep]
        if self.mask is not None:
            self.mask = self.mask[keep]
        if self.moments is not None:
            self.moments = (self.moments[0][keep], self.moments[1][keep])

    def _refuse(self, wrong: Tensor, losses: Tensor, when: str) -> None:
        if not bool(wrong.any()):
            return
        row = int(wrong.nonzero()[0])
        assert self.first is not None
        raise ProjectionDiverged(
            f"the projection of image {int(self.index[row])} diverges {when}: its reconstruction "
            f"loss went from {float(self.first[row]):g} to {float(losses[row]):g} (step_size "
            f"{self.descent.step_size:g}, l1_weight {self.descent.l1_weight:g}); a smaller "
            "step_size may help, or longer training"
        )
