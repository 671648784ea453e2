"""The trunk has the published shape, and the head and embedding are what they say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from methods.networks.resnet import (
    ProjectionNetwork,
    ResNet18,
    projection_resnet18,
    stem_for,
)


def images(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_full_width_has_the_parameters_of_resnet18() -> None:
    # 11 689 512 in the published network, less its 512 x 1000 + 1000 classifier.
    assert sum(p.numel() for p in ResNet18().parameters()) == 11_689_512 - 513_000


def test_layers_of_the_published_network() -> None:
    convolutions = [m for m in ResNet18().modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 17 + 3  # 17 in the trunk, 3 on shortcuts
    assert all(c.bias is None for c in convolutions)
    strides = [c.stride[0] for c in convolutions if c.kernel_size == (3, 3)]
    assert strides.count(2) == 3


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 33), (96, 70)])
def test_any_size_gives_an_embedding_and_two_logits(norm: str, height: int, width: int) -> None:
    network = projection_resnet18((height, width), width=4, norm=norm)  # type: ignore[arg-type]
    embedding, logits = network(images(3, height, width))
    assert embedding.shape == (3, 32)
    assert logits.shape == (3, 2)
    assert torch.isfinite(embedding).all() and torch.isfinite(logits).all()


def test_small_stem_keeps_the_map_of_a_small_image() -> None:
    assert stem_for((64, 200)) == "small"
    assert stem_for((65, 65)) == "large"
    picture = images(1, 32, 32)
    small, large = ResNet18(4, "small"), ResNet18(4, "large")
    assert small.stem(picture).shape[2:] == (32, 32)
    assert large.stem(picture).shape[2:] == (8, 8)


def test_unit_embedding_is_the_feature_divided_by_its_length() -> None:
    network = ProjectionNetwork(ResNet18(4, "small"), unit_embedding=True).eval()
    picture = images(4, 32, 32)
    embedding, logits = network(picture)
    feature = network.trunk(picture)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(embedding * feature.norm(dim=1, keepdim=True), feature)
    torch.testing.assert_close(logits, network.head(feature))
    network.unit_embedding = False
    torch.testing.assert_close(network(picture).embedding, feature)


def test_head_is_512_128_2() -> None:
    head = projection_resnet18((256, 256)).head
    assert [m.out_features for m in head if isinstance(m, nn.Linear)] == [512, 128, 2]
    assert sum(isinstance(m, nn.BatchNorm1d) for m in head) == 2


def test_images_are_standardised_inside() -> None:
    trunk = ResNet18(4, "small").eval()
    grey = trunk.mean.expand(1, 3, 32, 32)
    # The mean colour becomes zero, and nothing before the first normalisation has a bias.
    assert trunk.stem[0]((grey - trunk.mean) / trunk.deviation).abs().max() == 0
    assert not [name for name in trunk.state_dict() if name in ("mean", "deviation")]


def test_group_norm_does_not_look_at_other_images() -> None:
    network = projection_resnet18((32, 32), width=4, norm="group")
    picture = images(4, 32, 32)
    together = network(picture)
    alone = network(picture[:1])
    torch.testing.assert_close(together.embedding[:1], alone.embedding)
    torch.testing.assert_close(together.logits[:1], alone.logits)
    assert not [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def test_a_map_of_one_pixel_does_not_vanish_under_group_norm() -> None:
    network = projection_resnet18((8, 8), width=4, norm="group", unit_embedding=False)
    assert network(images(2, 8, 8)).embedding.std() > 0.01


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"width": 0}, "width is 0, but must be at least 1"),
        ({"stem": "tiny"}, "one of: large, small"),
        ({"norm": "layer"}, "one of: batch, group"),
        ({"activation": "tanh"}, "one of: relu, gelu"),
    ],
)
def test_a_bad_value_is_named_with_its_cure(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ResNet18(**arguments)  # type: ignore[arg-type]


def test_a_head_needs_a_width() -> None:
    with pytest.raises(ValueError, match="head width is 0"):
        ProjectionNetwork(ResNet18(4), head_widths=(0,))


def test_same_seed_same_network() -> None:
    torch.manual_seed(3)
    first = projection_resnet18((32, 32), width=4)
    torch.manual_seed(3)
    second = projection_resnet18((32, 32), width=4)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
