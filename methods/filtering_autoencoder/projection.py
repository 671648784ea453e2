"""Iterated projection: the network applied again and again until an image stays as it is.

The idempotency residual of an image y is the largest change of a pixel, max |f(y) - y|, that one
more projection would make; it is 0 on a fixed point. Bauer et al. (PAE, section 3.3 and supplement
A.2) iterate x_{t+1} = f(x_t) and show convergence where f contracts. A trained network contracts
nearly everywhere, not everywhere: so an image goes on only while its residual does not grow, and
asking for more iterations never gives a larger residual than asking for fewer. The paper's own
rule, f applied T times whatever happens, is the other choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.contract import Scoring
from methods.hyperparameter import Hyperparameter, Value, complete

_PAE = "idea from Bauer et al., PAE, section 3.3; the value is ours"

PROJECTION: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "projections",
        1,
        "how often the network is applied, at most, before its result is compared with the image",
        low=1,
        high=10,
        symbol="T",
        source=_PAE,
        tier="scoring",
    ),
    Hyperparameter(
        "projection_tolerance",
        1e-3,
        "an image whose pixels all change by less than this is done",
        low=1e-5,
        high=0.1,
        log=True,
        unit="grey range",
        source=_PAE,
        tier="scoring",
    ),
    Hyperparameter(
        "projection_stop",
        "residual",
        "an image is projected as long as its residual does not grow and is above the tolerance, or"
        " so often whatever happens",
        choices=("residual", "never"),
        source="ours; PAE, supplement A.2, projects T times",
        tier="scoring",
    ),
)
_NAMES = frozenset(parameter.name for parameter in PROJECTION)


@dataclass(frozen=True)
class Projection:
    """At most `iterations` applications, fewer where all pixels move by less than `tolerance` or
    the residual grows; without `stops` so many."""

    iterations: int = 1
    tolerance: float = 1e-3
    stops: bool = True

    def __str__(self) -> str:
        return f"{self.iterations}/{self.tolerance!r}"


def divided(scoring: Scoring) -> tuple[Projection, dict[str, Value]]:
    """How to project, and the rest of a scoring setting. Raises ValueError for a value out of
    bounds."""
    own = {name: value for name, value in scoring.items() if name in _NAMES}
    rest = {name: value for name, value in scoring.items() if name not in _NAMES}
    if not own:
        return Projection(), rest
    full = complete(PROJECTION, own)
    iterations, tolerance = int(full["projections"]), float(full["projection_tolerance"])
    # Of a single projection nothing else means anything: settings alike share their result.
    if iterations == 1:
        return Projection(), rest
    stops = full["projection_stop"] == "residual"
    return Projection(iterations, tolerance if stops else Projection.tolerance, stops), rest


def project(
    step: Callable[[Tensor], Tensor], first: Tensor, wanted: Sequence[Projection]
) -> list[Tensor]:
    """The result of each projection, like `first`, from one sequence of iterates.

    `first` `[B, ...]` is the network's answer to the images and `step` the network. More than one
    iteration costs one pass more than there are iterations, which judges the last; images that are
    done take no part in later passes.
    """
    most = max((p.iterations for p in wanted), default=1)
    if most == 1:
        return [first for _ in wanted]
    tightest = min(p.tolerance for p in wanted if p.iterations > 1)
    steady = max((p.iterations for p in wanted if not p.stops), default=1)
    iterates: list[Tensor] = [first]
    residuals: list[Tensor] = []
    alive = torch.ones(len(first), dtype=torch.bool, device=first.device)
    for count in range(most):
        # What never stops takes all images along, and needs no pass that judges the last one.
        going = alive | (count < steady - 1)
        if not going.any():
            break
        present = iterates[-1]
        following, residual = present.clone(), present.new_zeros(len(present))
        following[going] = step(present[going])
        residual[going] = (following[going] - present[going]).abs().flatten(1).amax(dim=1)
        if residuals:
            alive = alive & (residual <= residuals[-1])
        alive = alive & (residual >= tightest)
        iterates.append(following)
        residuals.append(residual)
    return [_result(iterates, residuals, projection) for projection in wanted]


def _result(iterates: list[Tensor], residuals: list[Tensor], projection: Projection) -> Tensor:
    """Each image's iterate: the last one reached while its residual was too large and fell, or the
    last one of all."""
    if not projection.stops:
        return iterates[projection.iterations - 1]
    result = iterates[0]
    going = torch.ones(len(result), dtype=torch.bool, device=result.device)
    for t in range(1, min(projection.iterations, len(residuals))):
        going = going & (residuals[t - 1] >= projection.tolerance)
        going = going & (residuals[t] <= residuals[t - 1])
        result = torch.where(going.view(-1, *[1] * (result.ndim - 1)), iterates[t], result)
    return result
