"""The convolution gives PyTorch's numbers, and inside the context all that is asked of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from methods.networks.convolution import Conv2d, differentiated_in_images

SHAPES = [(3, 1, 1), (3, 2, 1), (1, 2, 0), (7, 2, 3)]


def pair(kernel: int, stride: int, padding: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Two layers of the convolution and of PyTorch's own, with the same weights, in float64."""
    torch.manual_seed(0)
    own = nn.Sequential(Conv2d(3, 4, kernel, stride, padding), nn.GELU(), Conv2d(4, 2, 3, 1, 1))
    reference = nn.Sequential(
        nn.Conv2d(3, 4, kernel, stride, padding, bias=False),
        nn.GELU(),
        nn.Conv2d(4, 2, 3, 1, 1, bias=False),
    )
    reference.load_state_dict(own.state_dict())
    return own.double(), reference.double()


def picture() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, 9, 8, generator=generator, dtype=torch.float64).requires_grad_()


def mixed(network: nn.Module, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """The gradients in the weights, and the derivative of their sum of sines in the images."""
    gradients = torch.autograd.grad(
        network(images).square().sum(), list(network.parameters()), create_graph=True
    )
    total = torch.stack([gradient.sin().sum() for gradient in gradients]).sum()
    return list(gradients), torch.autograd.grad(total, images)[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_both_derivatives_are_those_of_torch(shape: tuple[int, int, int]) -> None:
    own, reference = pair(*shape)
    images = picture()
    with differentiated_in_images():
        gradients, second = mixed(own, images)
    expected, expected_second = mixed(reference, images)
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(second, expected_second, rtol=1e-12, atol=1e-12)


def test_outside_the_context_it_is_torchs_convolution() -> None:
    own, reference = pair(3, 1, 1)
    images = picture()
    assert own(images).grad_fn.name() == reference(images).grad_fn.name()
    with differentiated_in_images():
        assert own(images).grad_fn.name() != reference(images).grad_fn.name()
        assert own(images.detach()).shape == reference(images).shape
        with torch.no_grad():
            assert torch.equal(own(images), reference(images))
    assert own(images).grad_fn.name() == reference(images).grad_fn.name()
    assert list(Conv2d(1, 1, 1).state_dict()) == ["weight"]


def test_a_derivative_that_was_left_out_is_missing_and_not_zero() -> None:
    own, _ = pair(3, 1, 1)
    images = picture()
    with differentiated_in_images():
        loss = own(images).square().sum()
    weights = list(own.parameters())
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(gradients[0].sum(), weights)


def test_the_context_ends_with_an_error_and_does_not_reach_other_threads() -> None:
    own, reference = pair(3, 1, 1)
    images = picture()
    name: Callable[[nn.Module], str] = lambda network: network(images).grad_fn.name()  # noqa: E731
    with pytest.raises(KeyError), differentiated_in_images():
        raise KeyError
    assert name(own) == name(reference)
    seen: list[str] = []
    with differentiated_in_images():
        thread = threading.Thread(target=lambda: seen.append(name(own)))
        thread.start()
        thread.join()
    assert seen == [name(reference)]


def test_half_precision_is_followed() -> None:
    own, _ = pair(3, 1, 1)
    own, images = own.float(), picture().float().detach().requires_grad_()
    _, exact = mixed(own, images)
    with differentiated_in_images(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert own(images).dtype == torch.bfloat16
        _, rough = mixed(own, images)
    assert float((rough - exact).norm() / exact.norm()) < 0.05
