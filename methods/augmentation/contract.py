"""What an augmentation is: declared parameters, a draw, and a function of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from methods.hyperparameter import Hyperparameter

Size = tuple[int, int]
Values = Mapping[str, float]
Parameters = Tensor | Mapping[str, Tensor]

# Relative slack of a bound, for float32 values that were clamped to a float64 bound.
_SLACK = 1e-5


@dataclass(frozen=True)
class Draw:
    """The random numbers of one application, apart from the parameters: applying a draw again
    replays it.

    Every tensor is `[B, ...]`, one row an image and no row knowing of another, so that a worker
    may take its own share of a batch.
    """

    size: Size
    rows: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    def __getitem__(self, name: str) -> Tensor:
        return self.rows[name]

    def share(self, part: slice) -> Draw:
        """The rows of some of the images."""
        return Draw(self.size, {name: row[part] for name, row in self.rows.items()})

    def to(self, like: Tensor) -> Draw:
        """On the device and in the precision of `like`; whole numbers stay whole."""
        moved = {
            name: row.to(like.device, like.dtype if row.is_floating_point() else row.dtype)
            for name, row in self.rows.items()
        }
        return Draw(self.size, moved)

    def under(self, prefix: str) -> Draw:
        """The rows whose names begin with `prefix` and a dot, without it."""
        rows = {
            name.removeprefix(prefix + "."): row
            for name, row in self.rows.items()
            if name.startswith(prefix + ".")
        }
        return Draw(self.size, rows)


def unchanged(values: Values, size: Size) -> dict[str, float]:
    """No limit beyond the declared bounds."""
    return dict(values)


@dataclass(frozen=True)
class Augmentation:
    """A recipe that makes a pseudo-anomaly of a normal image, in two steps: `draw`, then `apply`.

    `draw_rows(batch, size, generator)` gives the random numbers, `transform(images, parameters,
    draw)` uses them; neither checks anything. `differentiable` says whether the result has a
    gradient in the parameters (in the images it always has one, almost everywhere).

    `resolve(values, size)` moves values to the nearest ones that an image of that size can show,
    and `unresolved` says what is wrong with the others. `periods` names the parameters that return
    to themselves. `ranges` are uniform ranges for random controls, narrower than the hard bounds;
    `starts` are initial values to learn from, as many sibling trials.
    """

    name: str
    title: str
    source: str
    hyperparameters: tuple[Hyperparameter, ...]
    differentiable: bool
    draw_rows: Callable[[int, Size, torch.Generator], dict[str, Tensor]]
    transform: Callable[[Tensor, Mapping[str, Tensor], Draw], Tensor]
    ranges: Mapping[str, tuple[float, float]]
    starts: tuple[Values, ...] = ()
    periods: Mapping[str, float] = field(default_factory=dict)
    resolve: Callable[[Values, Size], dict[str, float]] = unchanged
    unresolved: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.hyperparameters)

    def draw(self, batch: int, size: Size, generator: torch.Generator) -> Draw:
        """Random numbers for `batch` images of height and width `size`, on the generator's device.

        Raises ValueError for a batch or a size below 1.
        """
        if batch < 1 or min(size) < 1:
            raise ValueError(
                f"a draw of {batch} images of {size[0]} x {size[1]} pixels, but all must be >= 1"
            )
        return Draw(size, self.draw_rows(batch, size, generator))

    def apply(
        self, images: Tensor, parameters: Parameters, draw: Draw, *, checked: bool = False
    ) -> Tensor:
        """Augmented images `[B, 3, H, W]` in [0, 1], of floating images `[B, 3, H, W]` in [0, 1].

        `parameters` is a vector in the order of `names` or a mapping of scalars by name. Raises
        ValueError for images or a draw that do not fit, for a value outside its bounds or too
        small for the image to show, and for a gradient that does not exist. With `checked`, values
        are taken as they are: looking at those of a vector on a device waits for it.
        """
        self._check_images(images, draw)
        named = self.named(parameters)
        wanted = [name for name, value in named.items() if value.requires_grad]
        if wanted and torch.is_grad_enabled() and not self.differentiable:
            raise ValueError(
                f"a gradient in {', '.join(wanted)} was asked for, but {self.name} is not"
                " differentiable in its parameters: use a differentiable augmentation, such as"
                " cutdiff, or detach the parameters"
            )
        if not checked:
            self.check(named, draw.size)
        if isinstance(parameters, Tensor):
            moved = self.named(parameters.to(images.device, images.dtype, non_blocking=True))
        else:
            moved = {name: value.to(images.device, images.dtype) for name, value in named.items()}
        return self.transform(images, moved, draw.to(images))

    def named(self, parameters: Parameters) -> dict[str, Tensor]:
        """Scalars by name. Raises ValueError where their names or number are not the declared."""
        if isinstance(parameters, Tensor):
            if parameters.shape != (len(self.names),):
                raise ValueError(
                    f"parameters of {self.name} have shape {list(parameters.shape)}, but must be"
                    f" [{len(self.names)}]: {', '.join(self.names)}"
                )
            return dict(zip(self.names, parameters.unbind(), strict=True))
        if set(parameters) != set(self.names):
            raise ValueError(
                f"parameters of {self.name} are {', '.join(sorted(parameters)) or 'none'}, but"
                f" must be: {', '.join(self.names)}"
            )
        return {name: parameters[name] for name in self.names}

    def vector(self, values: Values | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
        """`[k]` from values by name, the defaults where none is given. Raises ValueError for an
        unknown name or a value outside its bounds."""
        given = dict(values or {})
        unknown = sorted(set(given) - set(self.names))
        if unknown:
            raise ValueError(
                f"{self.name} has no parameter {', '.join(unknown)}; it has:"
                f" {', '.join(self.names)}"
            )
        return torch.tensor(
            [float(p.validate(given.get(p.name, p.default))) for p in self.hyperparameters],
            dtype=dtype,
        )

    def values(self, parameters: Parameters) -> dict[str, float]:
        """Plain numbers by name."""
        named = self.named(parameters)
        stacked = torch.stack([value.detach().to(torch.float64) for value in named.values()])
        return dict(zip(named, stacked.tolist(), strict=True))

    def check(self, parameters: Parameters, size: Size) -> None:
        """Raise ValueError for a value that is out of bounds or that such images cannot show."""
        values = self.values(parameters)
        for declared in self.hyperparameters:
            assert declared.low is not None and declared.high is not None
            slack = _SLACK * max(1.0, abs(declared.low), abs(declared.high))
            value = values[declared.name]
            if not declared.low - slack <= value <= declared.high + slack:
                raise ValueError(
                    f"{declared.name} of {self.name} is {value:g}, but must be"
                    f" {declared.bounds()}; project() moves values into their bounds"
                )
        for name, nearest in self.resolve(values, size).items():
            value = values[name]
            if abs(value - nearest) > _SLACK * max(1.0, abs(nearest)):
                least = "least" if nearest > value else "most"
                raise ValueError(
                    f"{name} of {self.name} is {value:g}, but must be at {least} {nearest:g} on"
                    f" images of {size[0]} x {size[1]} pixels: {self.unresolved}; project() moves"
                    " it there"
                )

    def project(self, parameters: Tensor, size: Size) -> Tensor:
        """The nearest vector within the bounds that images of `size` can show, without gradient.

        Periodic parameters are wrapped into their first period instead. What remains out of the
        hard bounds after that (an image of very few pixels) raises ValueError.
        """
        values = self.values(parameters)
        for declared in self.hyperparameters:
            assert declared.low is not None and declared.high is not None
            value = values[declared.name]
            period = self.periods.get(declared.name)
            if period is not None:
                value %= period
            values[declared.name] = min(max(value, declared.low), declared.high)
        values = self.resolve(values, size)
        projected = parameters.new_tensor([values[name] for name in self.names])
        self.check(projected, size)
        return projected

    def sample(self, size: Size, generator: torch.Generator) -> Tensor:
        """A random vector `[k]`, float64, uniform in `ranges`, for the random controls."""
        uniform = torch.rand(
            len(self.names), generator=generator, dtype=torch.float64, device=generator.device
        )
        low = uniform.new_tensor([self.ranges[name][0] for name in self.names])
        high = uniform.new_tensor([self.ranges[name][1] for name in self.names])
        return self.project(low + (high - low) * uniform, size)

    def initial(self, size: Size) -> Iterator[Tensor]:
        """The vectors `[k]`, float64, to start learning from, as far as `size` can show them."""
        for start in self.starts or ({},):
            yield self.project(self.vector(start), size)

    def _check_images(self, images: Tensor, draw: Draw) -> None:
        if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"images are {images.dtype} {list(images.shape)}, but must be floating"
                " [B, 3, H, W] in [0, 1]; methods.contract.unit converts uint8"
            )
        if len(draw) != len(images) or draw.size != tuple(images.shape[2:]):
            raise ValueError(
                f"the draw is for {len(draw)} images of {draw.size[0]} x {draw.size[1]}, but there"
                f" are {len(images)} of {images.shape[2]} x {images.shape[3]}: draw again, or"
                " take its share()"
            )
