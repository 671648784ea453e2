"""What an exact hypergradient step costs, in time and memory, against a plain training step.

    python benchmarks/hypergradient_cost.py

Writes hypergradient_cost.json beside itself. One thread, float32, ResNet-18 of half its width at
32 x 32 pixels, CutDiff, once with group and once with batch normalisation.

A plain step is one pass forward and back over the normal and the augmented images. An exact step
is that, the validation loss (normal, augmented and test images) at the network after the step, and
the mixed second derivative. The one-graph form is the same hypergradient, from the same losses, as
one differentiable expression.

Time is processor time of this process, which on one thread is what a clock would show on an idle
machine. The forms take turns, and a ratio is the median over the rounds of the ratio within a
round, so that other work on the machine slows both sides of it alike. "Every fourth" is
three plain steps and an exact one over four plain ones. Operations are those of convolutions and
matrix products, as PyTorch counts them: a ratio that no machine changes, but which leaves out
normalisation and activations. 3.17 is the least that an exact step can have: 1 for the plain step,
1.5 for the validation loss over three sets in place of two, and for the second derivative four
convolutions of one set, where a plain step has three of each of two.

Memory: every allocation and release of the CPU allocator as the profiler records them, summed in
order; the peak above the start is what a step needs beyond the network and the images. Scratch
memory inside the convolution library is not seen by it.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from methods.augmentation import get_augmentation
from methods.hypergradient.derivative import hypergradient
from methods.hypergradient.inner_step import InnerStep, Losses, Network, training_step
from methods.networks.resnet import Norm, projection_resnet18

SIZE = (32, 32)
WIDTH = 32
BATCH = 16
ROUNDS = 7
EVERY = 4
TARGETS = {"exact_over_plain": 3.6, "every_fourth_over_plain": 1.6, "memory_over_one_graph": 0.8}


def alignment(train: Tensor, corrupted: Tensor, test: Tensor) -> Tensor:
    """ST-SSAD, Eq. 2 and 3, as a mean over the test embeddings."""
    rows = torch.cat([train, corrupted, test])
    middle = rows.mean(0)
    scale = math.sqrt(len(rows)) / (rows - middle).norm()
    train, corrupted, test = ((z - middle) * scale for z in (train, corrupted, test))
    to_train = (test - train.mean(0)).norm(dim=1)
    to_corrupted = (test - corrupted.mean(0)).norm(dim=1)
    return (to_train + to_corrupted).mean() / 2


def make_losses(normal: Tensor, test: Tensor) -> Losses:
    def classify(network: Network, images: Tensor, label: int) -> Tensor:
        labels = torch.full((len(images),), label)
        return functional.cross_entropy(network(images).logits, labels) / 2

    def validation(network: Network, augmented: Tensor) -> Tensor:
        return alignment(*(network(images).embedding for images in (normal, augmented, test)))

    return Losses(
        tuned=lambda network, augmented: classify(network, augmented, 1),
        validation=validation,
        fixed=lambda network: classify(network, normal, 0),
    )


def one_graph(
    network: nn.Module,
    vector: Tensor,
    augment: Callable[[Tensor], Tensor],
    losses: Losses,
    inner: InnerStep,
) -> Tensor:
    """The same hypergradient as one differentiable expression."""
    leaf = vector.clone().requires_grad_()
    theta = {n: p.detach().requires_grad_() for n, p in network.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def call(parameters: dict[str, Tensor]) -> Network:
        return lambda images: functional_call(network, {**parameters, **buffers}, (images,))

    assert losses.fixed is not None
    augmented = augment(leaf)
    loss = losses.fixed(call(theta)) + losses.tuned(call(theta), augmented)
    gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
    after = {
        name: parameter - inner.learning_rate * gradient
        for (name, parameter), gradient in zip(theta.items(), gradients, strict=True)
    }
    return torch.autograd.grad(losses.validation(call(after), augmented), leaf)[0]


def make_steps(norm: Norm) -> dict[str, Callable[[], Any]]:
    torch.manual_seed(0)
    network = projection_resnet18(SIZE, width=WIDTH, norm=norm)
    augmentation = get_augmentation("cutdiff")
    normal, test = torch.rand(BATCH, 3, *SIZE), torch.rand(BATCH, 3, *SIZE)
    draw = augmentation.draw(BATCH, SIZE, torch.Generator().manual_seed(0))
    vector = augmentation.vector({"log_ratio": 0.2, "angle": 0.5})
    losses, inner = make_losses(normal, test), InnerStep(0.03)

    def augment(parameters: Tensor) -> Tensor:
        return augmentation.apply(normal, parameters, draw)

    return {
        "plain": lambda: training_step(network, augment(vector), losses, inner),
        "first_order": lambda: (
            hypergradient(network, vector, augment, losses, inner, order="first").gradient
        ),
        "exact": lambda: hypergradient(network, vector, augment, losses, inner).gradient,
        "one_graph": lambda: one_graph(network, vector, augment, losses, inner),
    }


def seconds(steps: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Processor time of each in every round, the forms taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(ROUNDS + 1):
        for name, step in steps.items():
            begun = time.process_time()
            step()
            if number > 0:  # The first round warms up.
                taken[name].append(time.process_time() - begun)
    return taken


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(above, below, strict=True)), 2)


class Counter(TorchDispatchMode):
    """Sums what PyTorch's own formulas say of each operation below autograd."""

    total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            counted = flop_registry[func.overloadpacket]
            self.total += counted(*args, **(kwargs or {}), out_val=result)
        return result


def operations(step: Callable[[], Any]) -> int:
    with Counter() as counter:
        step()
    return counter.total


def peak_bytes(step: Callable[[], Any]) -> int:
    """The most that is allocated at one time during a step, beyond what was before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    assert recorded.profiler is not None
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def measure(norm: Norm) -> dict[str, Any]:
    steps = make_steps(norm)
    exact, reference = steps["exact"](), steps["one_graph"]()
    times = seconds(steps)
    memory = {name: peak_bytes(step) for name, step in steps.items()}
    counted = {name: operations(step) for name, step in steps.items()}
    plain = times["plain"]
    # The four plain steps of a round are one measurement: they differ by noise alone.
    every = [(EVERY - 1) * p + e for p, e in zip(plain, times["exact"], strict=True)]
    return {
        "norm": norm,
        "seconds": {name: round(statistics.median(t), 4) for name, t in times.items()},
        "peak_mebibytes": {name: round(value / 2**20, 1) for name, value in memory.items()},
        "exact_over_plain": ratio(times["exact"], plain),
        "first_order_over_plain": ratio(times["first_order"], plain),
        "one_graph_over_plain": ratio(times["one_graph"], plain),
        "every_fourth_over_plain": ratio(every, [EVERY * p for p in plain]),
        "operations_over_plain": {
            name: round(value / counted["plain"], 2) for name, value in counted.items()
        },
        "memory_over_plain": round(memory["exact"] / memory["plain"], 2),
        "memory_over_one_graph": round(memory["exact"] / memory["one_graph"], 2),
        "relative_difference_from_one_graph": float((exact - reference).norm() / reference.norm()),
    }


def main() -> None:
    torch.set_num_threads(1)
    results = [measure(norm) for norm in ("group", "batch")]
    met = {
        name: all(result[name] <= target for result in results) for name, target in TARGETS.items()
    }
    report = {
        "torch": torch.__version__,
        "threads": 1,
        "load_average": round(os.getloadavg()[0], 1),
        "network": f"ResNet-18, width {WIDTH}, small stem",
        "image": list(SIZE),
        "batch": {"normal": BATCH, "augmented": BATCH, "test": BATCH},
        "rounds": ROUNDS,
        "targets": TARGETS,
        "met": met,
        "results": results,
    }
    text = json.dumps(report, indent=2)
    Path(__file__).with_suffix(".json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
