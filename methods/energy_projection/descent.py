"""Gradient descent on an energy in input space (Dehaene et al., Eq. 4, 5, 7 and 8).

The energy of an image is `E(x_t) = L_r(x_t) + lambda ||x_t - x_0||_1`. Its gradient flows through
the reconstruction. Images that have reached the stop rule are frozen, and nothing is computed for
them any more.

The paper takes the derivative of the L1 term as `lambda sign(x_t - x_0)`, which is 0 where a pixel
has not moved. There a step feels no anchor, while the energy that it leads to contains it: however
short the step, it may raise the energy of an image that is not at a minimum. So an image whose
energy rose goes on by proximal steps (ISTA; Beck and Teboulle, 2009): a step along the gradient of
L_r alone, then each pixel is drawn back towards x_0 by what the anchor weighs in that step, and not
beyond. A short proximal step lowers the energy unless the image is at a minimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

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
    [0, 1]. `stalled` `[B]`: a proximal step leaves an image where it is, or no halving of its step
    lowers its energy any more, so it has converged (3.5). `diverged` `[B]`: where an image would go
    next its energy is more than twice that of the image as given, or not finite. Both kinds are
    where their energy was lowest.
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
    goes on by proximal steps of half that length; the others do not notice. After ten halvings it
    stays where its energy was lowest. Raises `ProjectionDiverged` where the energy of an image as
    given is not finite.
    """
    last, found = max(counts, default=0), {}
    # A caller's inference mode would forbid the gradient.
    with torch.inference_mode(False), torch.no_grad():
        walk = _Walk(evaluate, images, descent, mask)
        for count in range(last + 1):
            walk.look(begin=count == 0, final=count == last)
            if count in counts:
                found[count] = walk.images()
            if count < last:
                walk.move()
            if walk.finished:
                break
        end = walk.images()
    return Projection([found.get(count, end) for count in counts], walk.stalled, walk.diverged)


@dataclass(frozen=True)
class _Moving:
    """The images that still move, a row each; None stands for what a walk does without.

    `index` are their places among all images, `start` the images as given and `at` the last points
    that were kept, with the energy there, the `gradient` of the reconstruction loss and the
    reconstruction `error`. `first` is the energy at the start, `scale` what is left of the step
    size and `proximal` says which of them go on by proximal steps. `mean`, `square` and `count` are
    Adam's moments and how many gradients they have seen.
    """

    index: Tensor
    start: Tensor
    at: Tensor
    mask: Tensor | None
    scale: Tensor
    proximal: Tensor
    first: Tensor
    energy: Tensor
    gradient: Tensor
    error: Tensor
    mean: Tensor | None
    square: Tensor | None
    count: Tensor

    @classmethod
    def begin(cls, images: Tensor, mask: Tensor | None, adam: bool) -> _Moving:
        count, device = len(images), images.device
        infinite = images.new_full((count,), math.inf)
        return cls(
            index=torch.arange(count, device=device),
            start=images,
            at=images,
            mask=None if mask is None else mask.to(images).expand_as(images),
            scale=images.new_ones(count),
            proximal=torch.zeros(count, dtype=torch.bool, device=device),
            first=infinite,
            energy=infinite,
            gradient=images,
            error=images,
            mean=torch.zeros_like(images) if adam else None,
            square=torch.zeros_like(images) if adam else None,
            count=images.new_zeros(count),
        )

    def rows(self, keep: Tensor) -> _Moving:
        """Only the images that `keep` `[B]` is True for."""
        named: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{n: v[keep] for n, v in named.items() if v is not None})


class _Walk:
    """The images that still move, and where the others came to."""

    def __init__(
        self, evaluate: Evaluate, images: Tensor, descent: Descent, mask: Tensor | None
    ) -> None:
        self.evaluate, self.descent = evaluate, descent
        self.all = images.detach().clone()
        self.moving = _Moving.begin(self.all.clone(), mask, descent.optimiser == "adam")
        self.tried = self.moving.start
        self.stalled = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self.diverged = self.stalled.clone()
        self.proximal = False  # whether any image goes by proximal steps

    @property
    def finished(self) -> bool:
        return len(self.moving.index) == 0

    def images(self) -> Tensor:
        """All images as they are now."""
        now = self.all.clone()
        now[self.moving.index] = self.moving.at
        return now

    def look(self, begin: bool, final: bool) -> None:
        """Judge the points that were tried: keep them, or turn back where the energy rose; freeze
        what is finished. The look that `begin`s refuses energies that are not finite, the `final`
        one takes no gradient."""
        moving, tried = self.moving, self.tried
        losses, gradient, error = self._losses(tried, final)
        energy = losses
        if self.descent.l1_weight:
            moved = (tried - moving.start).abs().flatten(1).sum(1)
            energy = losses + self.descent.l1_weight * moved
        if begin:
            self._check(energy)
            moving = replace(moving, first=energy)
        rose = ~(energy <= moving.energy * (1 + _ROUNDING))
        scale = torch.where(rose, moving.scale / 2, moving.scale)
        stuck = scale < _SHORTEST
        done = (~rose & (losses <= self.descent.threshold)) | stuck
        # Both answers in one wait for the device.
        any_rose, any_done = torch.stack([rose.any(), done.any()]).tolist()
        kept = {"at": tried, "energy": energy, "gradient": gradient, "error": error}
        if any_rose:
            self.proximal = bool(self.descent.l1_weight)
            lost = ~(energy <= _TOO_FAR * moving.first)
            self._mark(self.stalled, stuck & ~lost)
            self._mark(self.diverged, (rose if final else stuck) & lost)
            kept = {n: _where(rose, getattr(moving, n), value) for n, value in kept.items()}
            moving = _turned_back(moving, rose)
        self.moving = replace(moving, **kept, scale=scale)
        if any_done:
            self._freeze(done)

    def move(self) -> None:
        """One step of every image that still moves, to where `look` will judge it."""
        moving, descent = self.moving, self.descent
        anchor = descent.l1_weight
        gradient, weight = moving.gradient, None
        if anchor:
            away = (moving.at - moving.start).sign_()
            away.masked_fill_(_columns(moving.proximal), 0.0)
            gradient = gradient.add(away, alpha=anchor)
        if descent.update == "weighted":
            weight = moving.error.square()
        if moving.mask is not None:
            weight = moving.mask if weight is None else weight * moving.mask
        if weight is not None:
            gradient = gradient * weight
        length = _columns(descent.step_size * moving.scale)
        if descent.optimiser == "adam":
            moving, gradient, steepness = _adam(moving, gradient)
            length = length / steepness
        tried = moving.at - length * gradient
        if self.proximal:
            within = anchor * length if weight is None else anchor * length * weight
            drawn = moving.start + _shrunk(tried - moving.start, within)
            tried = torch.where(_columns(moving.proximal), drawn, tried)
        self.moving, self.tried = moving, tried.clamp_(0.0, 1.0)
        if self.proximal:
            self._settle()

    def _settle(self) -> None:
        """Finish the images that a proximal step leaves where they are: they are at a minimum."""
        same = (self.tried == self.moving.at).flatten(1).all(1) & self.moving.proximal
        if bool(same.any()):
            self._mark(self.stalled, same)
            self._freeze(same)

    def _losses(self, at: Tensor, final: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Losses `[B]`, their gradient and the error of the reconstruction; unless it is the
        final look, after which nothing needs the last two."""
        if final:
            return self.evaluate(at)[0], self.moving.gradient, self.moving.error
        leaf = at.detach().requires_grad_()
        with torch.enable_grad():
            losses, reconstruction = self.evaluate(leaf)
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        return losses.detach(), gradient, at - reconstruction.detach()

    def _mark(self, where: Tensor, which: Tensor) -> None:
        index = self.moving.index
        where[index] = where[index] | which

    def _freeze(self, done: Tensor) -> None:
        moving, keep = self.moving, ~done
        self.all[moving.index[done]] = moving.at[done]
        self.moving, self.tried = moving.rows(keep), self.tried[keep]

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


def _turned_back(moving: _Moving, rose: Tensor) -> _Moving:
    """The images that `rose` go on by proximal steps, and Adam begins anew for them: what it saw
    led there."""
    moments: dict[str, Any] = {
        name: None if moment is None else moment.masked_fill(_columns(rose), 0.0)
        for name, moment in (("mean", moving.mean), ("square", moving.square))
    }
    return replace(
        moving,
        **moments,
        count=moving.count.masked_fill(rose, 0.0),
        proximal=moving.proximal | rose,
    )


def _adam(moving: _Moving, gradient: Tensor) -> tuple[_Moving, Tensor, Tensor]:
    """The moments with one more gradient, their direction, and what divides its length."""
    assert moving.mean is not None and moving.square is not None
    first, second = _BETAS
    mean = moving.mean.lerp(gradient, 1 - first)
    square = (moving.square * second).addcmul_(gradient, gradient, value=1 - second)
    count = moving.count + 1
    direction = mean / _columns(1 - first**count)
    steepness = (square / _columns(1 - second**count)).sqrt_().add_(_EPSILON)
    return replace(moving, mean=mean, square=square, count=count), direction, steepness


def _shrunk(change: Tensor, by: Tensor) -> Tensor:
    """Soft threshold: each value nearer to 0 by that much, and not beyond."""
    return change.sign() * (change.abs() - by).clamp_(min=0.0)


def _columns(rows: Tensor) -> Tensor:
    """One number an image, to go with `[B, C, H, W]`."""
    return rows.view(-1, 1, 1, 1)


def _where(rows: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (one.ndim - 1)), one, other)
