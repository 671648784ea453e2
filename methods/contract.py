"""The protocols between methods and whoever runs them, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from methods.backbones.table import FeatureTable
from methods.hyperparameter import Hyperparameter, Value

Precision = Literal["float32", "bfloat16"]
Scoring = Mapping[str, Value]
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class TrialData:
    """What one trial may see. There is no label, name or path in it.

    `train` uint8 `[N, 3, H, W]`, `held_out` uint8 `[V, 3, H, W]` (normal, kept from training),
    `test` uint8 `[M, 3, H, W]` (unlabelled), `textures` uint8 `[P, 3, h, w]` or None (a pool of
    foreign images from which corruptions may take their texture). `features` are those of some or
    all of these images, for methods that use a frozen backbone.
    """

    train: Tensor
    held_out: Tensor
    test: Tensor
    textures: Tensor | None = None
    features: tuple[FeatureTable, ...] = ()

    def __post_init__(self) -> None:
        for name in ("train", "held_out", "test"):
            images: Tensor = getattr(self, name)
            if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
                raise ValueError(
                    f"{name} is {images.dtype} {list(images.shape)}, but must be uint8 [N, 3, H, W]"
                )
            if len(images) == 0:
                raise ValueError(f"{name} holds no image; at least one is needed")
            if images.shape[2:] != self.train.shape[2:]:
                raise ValueError(
                    f"{name} is {list(images.shape[2:])}, but train is {list(self.train.shape[2:])}"
                )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.train.shape[2]), int(self.train.shape[3])

    def to(self, device: torch.device) -> TrialData:
        """On a device; tables of features stay where they are."""
        pool = None if self.textures is None else self.textures.to(device)
        return TrialData(
            self.train.to(device),
            self.held_out.to(device),
            self.test.to(device),
            pool,
            self.features,
        )


def unit(images: Tensor) -> Tensor:
    """uint8 [0, 255] to float32 [0, 1]."""
    return images.to(torch.float32) / 255.0


def everything(detector: Detector) -> dict[str, Tensor]:
    """All weights of a detector, those of a frozen network below it included."""
    rest = detector.frozen() if isinstance(detector, BackedDetector) else {}
    return {**detector.weights(), **rest}


def stream_seed(seed: int, *stream: int) -> int:
    """A well-mixed 63-bit seed for one named stream of a seed (SplitMix64 over the parts)."""
    mask = (1 << 64) - 1
    state = seed & mask
    for part in (*stream, len(stream)):
        state = (state + 0x9E3779B97F4A7C15 + (part & mask)) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state >> 1


@dataclass
class Context:
    """Where and how a fit runs; the same for one process, a worker group or a unit test.

    A fit draws for the whole batch on every rank and applies only its own slice, so that the
    number of workers does not change what is trained. `all_reduce` returns the mean over ranks.
    `resume` is what an earlier `Progress.state()` returned, or None for a fresh start.
    """

    seed: int = 0
    rungs: int = 4
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = "float32"
    channels_last: bool = False
    rank: int = 0
    world_size: int = 1
    all_reduce: Callable[[Tensor], Tensor] = lambda tensor: tensor
    resume: Mapping[str, Any] | None = None

    def generator(self, *stream: int) -> torch.Generator:
        """A generator on the device for one stream of this trial's seed."""
        generator = torch.Generator(device=self.device)
        return generator.manual_seed(stream_seed(self.seed, *stream))

    def prepare(self, module: Module) -> Module:
        """Move a module to the device and memory format of this trial."""
        module.to(self.device)
        if self.channels_last:
            for parameter in module.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return module

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over the ranks, in one message."""
        if self.world_size == 1:
            return
        with_gradient = [p for p in parameters if p.grad is not None]
        gradients = [p.grad for p in with_gradient if p.grad is not None]
        if not gradients:
            return
        flat = self.all_reduce(torch.cat([g.reshape(-1) for g in gradients]))
        for gradient, mean in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(mean.view_as(gradient))

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError for fewer `steps` than rungs, or for a `batch_size` that the ranks do
        not divide; a hyperparameter that is not there is no fault."""
        steps = int(values.get("steps", self.rungs))
        if steps < self.rungs:
            raise ValueError(
                f"steps is {steps}, but must be at least the number of rungs, {self.rungs}"
            )
        self.share(int(values.get("batch_size", self.world_size)))

    def share(self, batch: int) -> slice:
        """This rank's part of a batch; raises ValueError where the ranks do not divide it."""
        if batch % self.world_size:
            raise ValueError(
                f"batch_size is {batch}, but must be a multiple of the {self.world_size} workers"
            )
        part = batch // self.world_size
        return slice(self.rank * part, (self.rank + 1) * part)


class Detector(Protocol):
    """A trained thing that embeds and scores images: float `[B, 3, H, W]` in [0, 1].

    Higher scores are more anomalous. A detector is in inference mode: no call needs or keeps
    gradients unless its documentation says so.
    """

    def embed(self, images: Tensor) -> Tensor:
        """`[B, D]`."""
        ...

    def scores(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B]`, under one scoring setting."""
        ...

    def grid_scores(self, images: Tensor, grid: Sequence[Scoring]) -> Tensor:
        """`[S, B]`: every setting of the grid from one pass through the network."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """Everything that `Method.restore` needs beside the hyperparameters."""
        ...


@runtime_checkable
class MapDetector(Detector, Protocol):
    """A detector that also localises."""

    def maps(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B, H, W]`, smoothed, higher is more anomalous."""
        ...


@runtime_checkable
class InpaintingDetector(Detector, Protocol):
    """A detector that repairs images."""

    def inpaint(
        self, images: Tensor, mask: Tensor | None = None, scoring: Scoring | None = None
    ) -> Tensor:
        """`[B, 3, H, W]` in [0, 1], changed where `mask` `[B, 1, H, W]` is above 0; where it is
        None, the detector decides."""
        ...


@runtime_checkable
class ReconstructingDetector(Detector, Protocol):
    """A detector that says what an image should look like."""

    def reconstruct(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [0, 1]."""
        ...


class FrozenNetwork(Protocol):
    """What is told of a frozen network: its name, the SHA-256 of its weights, and their origin."""

    name: str
    digest: str
    origin: str
    strides: Sequence[int]


@runtime_checkable
class BackedDetector(Detector, Protocol):
    """A detector on top of a frozen network whose weights `weights` leaves out."""

    @property
    def backbone(self) -> FrozenNetwork:
        """The network that it works on."""
        ...

    def frozen(self) -> dict[str, Tensor]:
        """The rest: `Method.restore` takes both together, or finds this part by its name and
        digest."""
        ...


@runtime_checkable
class ObservedDetector(Detector, Protocol):
    """A detector that counts what befell the images while it scored them."""

    def scoring_diagnostics(self) -> Mapping[str, float]:
        """Numbers on all scoring so far that belong beside `Progress.diagnostics`."""
        ...


@dataclass(frozen=True)
class Progress:
    """What a fit yields at each rung.

    `rung` counts from 1 to `Context.rungs`. `tuned` holds hyperparameters that moved by gradient
    while the trial trained (empty for a search trial), `trajectory` where they went since the rung
    before, as some (training step, values) in order, `diagnostics` other numbers worth a curve.
    `state()` returns what `Context.resume` needs to go on from here exactly.
    """

    rung: int
    train_loss: float
    detector: Detector
    tuned: Mapping[str, float] = field(default_factory=dict)
    trajectory: Sequence[tuple[int, Mapping[str, float]]] = ()
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    state: Callable[[], dict[str, Any]] = dict


class Diverged(RuntimeError):
    """A training loss that is no longer a finite number."""


class Method(Protocol):
    """A way to train a detector. Stateless: one instance serves every trial."""

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]]

    def check(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> None:
        """Raise ValueError where this method cannot take such images or values."""
        ...

    def fit(
        self, data: TrialData, hyperparameters: Mapping[str, Value], context: Context
    ) -> Iterator[Progress]:
        """Train, yielding at each rung. Raises `Diverged` where the loss is not finite."""
        ...

    def restore(
        self, hyperparameters: Mapping[str, Value], weights: Mapping[str, Tensor]
    ) -> Detector:
        """The detector that `weights()` came from, on the CPU."""
        ...

    def corrupt(
        self,
        data: TrialData,
        hyperparameters: Mapping[str, Value],
        count: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Normal images and what this method's corruption makes of them: two `[count, 3, H, W]`."""
        ...

    def families(self, hyperparameters: Mapping[str, Value]) -> frozenset[str]:
        """Names of the defect generators that training uses, so that no judge uses them too."""
        ...


@runtime_checkable
class TuningMethod(Method, Protocol):
    """A method whose trials learn some hyperparameters by gradient while they train.

    A study runs them in float32: second derivatives in bfloat16 are mostly rounding.
    """

    def learned(
        self, hyperparameters: Mapping[str, Value], tuned: Mapping[str, float]
    ) -> dict[str, Value]:
        """Hyperparameters that start where `Progress.tuned` ended: a point to search on from, and
        what `corrupt` needs to show the learned augmentation."""
        ...

    def starts(self, hyperparameters: Mapping[str, Value]) -> list[dict[str, Value]]:
        """The hyperparameters once for each usual initial value: sibling trials."""
        ...

    def augmentation(self, hyperparameters: Mapping[str, Value]) -> str:
        """Name of the augmentation that `Progress.tuned` describes, for `AdoptingMethod`."""
        ...

    def warnings(self, diagnostics: Mapping[str, float]) -> list[str]:
        """What `Progress.diagnostics` warn of, a sentence each; empty where all is well."""
        ...

    def comparable(self, diagnostics: Mapping[str, float]) -> bool:
        """Whether the spread of this trial's scores may be compared with its siblings'."""
        ...


@runtime_checkable
class AdoptingMethod(Method, Protocol):
    """A method that can search on from an augmentation that another method learned."""

    def adopt(self, augmentation: str, tuned: Mapping[str, float]) -> dict[str, Value]:
        """Its own hyperparameters that come next to an augmentation of that name with the values
        of `Progress.tuned`; empty where it has nothing like it."""
        ...


@runtime_checkable
class FeatureMethod(Method, Protocol):
    """A method that works on features of a frozen network, which are the same in every trial."""

    def backbone(self, hyperparameters: Mapping[str, Value]) -> FrozenNetwork:
        """The network of these hyperparameters. Raises ValueError where it cannot be had."""
        ...

    def tabulate(
        self,
        hyperparameters: Mapping[str, Value],
        sets: Sequence[Tensor],
        context: Context,
    ) -> FeatureTable:
        """Features of sets of images uint8 `[N, 3, H, W]`, for `TrialData.features`."""
        ...

    def resolves(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> bool:
        """Whether the network sees enough of images of this size."""
        ...

    def trial_bytes(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> int:
        """Memory of features that a trial holds for itself."""
        ...


@runtime_checkable
class GridMethod(Method, Protocol):
    """A method that knows which of its scoring settings mean the same."""

    def expand_grid(self, values: Mapping[str, Sequence[Value]]) -> list[dict[str, Value]]:
        """The product of lists of scoring values, complete, settings that score alike once."""
        ...
