import pytest
import torch

from methods.networks.unet import DilatedBlock, UNet


def dilations(network):
    block = network.bottleneck[0]
    assert isinstance(block, DilatedBlock)
    return [branch.dilation[0] for branch in block.branches]


@pytest.mark.parametrize("size", [(16, 16), (32, 24), (40, 64)])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("skips", [True, False])
def test_shapes(size, kernel, skips):
    network = UNet(4, kernel, skips, size)
    images = torch.rand(2, 3, *size)
    output, features = network.with_features(images)
    assert output.shape == images.shape
    assert features.shape == (2, 16, size[0] // 8, size[1] // 8)
    torch.testing.assert_close(network.encode(images), features)
    torch.testing.assert_close(network(images), output)


def test_dilations_that_reach_past_the_map_are_left_out():
    assert dilations(UNet(2, 5, size=(256, 256))) == [1, 2, 4, 8]
    assert dilations(UNet(2, 3, size=(512, 512))) == [1, 2, 4, 8, 16, 32]
    assert dilations(UNet(2, 5, size=(64, 64))) == [1, 2]
    assert dilations(UNet(2, 3, size=(8, 64))) == [1]


def test_width_scales_the_parameters():
    small, large = (sum(p.numel() for p in UNet(w, size=(32, 32)).parameters()) for w in (4, 8))
    assert 3.5 < large / small < 4.1


@pytest.mark.parametrize("size", [(30, 32), (32, 100)])
def test_a_bad_size_is_refused_with_the_nearest_good_one(size):
    with pytest.raises(ValueError, match=r"32 x (32|96)"):
        UNet(4, size=size)
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]}"):
        UNet(4, size=(32, 32))(torch.rand(1, 3, *size))


def test_weights_follow_from_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one, two, other = UNet(4, seed=3), UNet(4, seed=3), UNet(4, seed=4)
    assert torch.equal(torch.rand(3), expected)
    pairs = list(zip(one.parameters(), two.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.down[0][0].weight, other.down[0][0].weight)


def test_an_untrained_network_with_shortcuts_is_the_identity():
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(UNet(4, size=(32, 32))(images), images)


def test_without_shortcuts_the_image_passes_the_bottleneck_only():
    network = UNet(4, skips=False, size=(32, 32))
    torch.nn.init.zeros_(network.shrink[0].weight)
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(network(images)[0], network(images)[1])


def test_every_parameter_is_trained():
    network = UNet(4, size=(32, 32))
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(3):
        optimiser.zero_grad()
        network(torch.rand(2, 3, 32, 32)).square().mean().backward()
        optimiser.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_bfloat16_and_channels_last_stay_close():
    images = torch.rand(2, 3, 32, 32)
    network = UNet(8, size=(32, 32))
    torch.nn.init.normal_(network.out.weight, std=0.1)
    expected = network(images)
    network = network.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(images.contiguous(memory_format=torch.channels_last))
    assert (output.float() - expected).abs().max() < 0.2


@pytest.mark.parametrize("skips", [True, False])
def test_under_autocast_the_output_has_the_images_own_format(skips: bool) -> None:
    network = UNet(2, 3, skips, (16, 16), seed=0).eval()
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert network(images).dtype == torch.float32
