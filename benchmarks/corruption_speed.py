"""What corruption costs: against a training step, and against per-sample numpy.

Two figures, each with one thread and with all:
- drawing and applying the corruption and the noise of a batch of 16 at 64 x 64, as a share of a
  training step of a width-8 network (bfloat16, channels last) that includes them;
- a batch of 32 at 256 x 256 against the same draw applied one sample at a time with numpy and
  scipy at full resolution. Drawing is counted for the batch only, which favours the reference.

Run `python benchmarks/corruption_speed.py`; the result is printed and written beside this file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from methods.contract import Context, TrialData
from methods.corruption.masks import BLOB, DOTS, STROKE
from methods.corruption.recipe import CorruptionDraw, CorruptionRecipe, apply
from methods.corruption.textures import TextureBank, TextureSources
from methods.filtering_autoencoder.training import Training
from methods.hyperparameter import complete
from methods.registry import get_method

Array = np.ndarray


def reference(image: Array, draw: CorruptionDraw, bank: TextureBank) -> tuple[Array, Array]:
    """Corrupt one image `[3, H, W]` in the obvious way from a draw of one sample."""
    mask = reference_mask(draw, image.shape[1:]) * float(draw.opacity[0])
    filling = reference_filling(draw, bank, image.shape[1:])
    return mask * filling + (1 - mask) * image, mask


def reference_mask(draw: CorruptionDraw, size: tuple[int, ...]) -> Array:
    height, width = size
    side = min(size)
    regions = draw.regions
    x = (np.arange(width, dtype=np.float32) + 0.5) / side
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / side
    edge = float(regions.edge[0])
    level = np.full(size, -8.0, np.float32)
    for slot, kind in enumerate(regions.kind[0].tolist()):
        if kind == BLOB:
            part = _blob(draw, slot, x, y) / edge
        elif kind == STROKE:
            path, steps = regions.path[0, slot].numpy(), regions.path.shape[2] - 1
            length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
            count = max(1, int(np.ceil(length * side / 0.75)))
            share = np.arange(count + 1, dtype=np.float32) / count
            place = [np.interp(share * steps, np.arange(steps + 1), path[:, i]) for i in range(2)]
            ends = (2 * share - 1) ** 2
            radii = float(regions.radius[0, slot]) * (1 - float(regions.taper[0, slot]) * ends)
            part = _discs(x, y, place[0], place[1], radii) / edge
        elif kind == DOTS:
            shown = regions.dot_radius[0, slot].numpy() > 0
            dots = regions.dots[0, slot].numpy()[shown]
            radii = regions.dot_radius[0, slot].numpy()[shown]
            part = _discs(x, y, dots[:, 0], dots[:, 1], radii) / edge
        else:
            continue
        level = np.maximum(level, part + 0.5)
    level = np.clip(level, 0, 1)
    return level * level * (3 - 2 * level)


def _blob(draw: CorruptionDraw, slot: int, x: Array, y: Array) -> Array:
    regions = draw.regions
    centre, axes = regions.centre[0, slot].numpy(), regions.axes[0, slot].numpy()
    angle = float(regions.angle[0, slot])
    dx, dy = x - centre[0], y - centre[1]
    u = (dx * np.cos(angle) + dy * np.sin(angle)) / axes[0]
    v = (dy * np.cos(angle) - dx * np.sin(angle)) / axes[1]
    warp = regions.warp[0, slot].numpy()
    last = warp.shape[-1] - 1
    places = np.stack([(v / 2.5 + 1) / 2 * last, (u / 2.5 + 1) / 2 * last])
    move = np.stack([ndimage.map_coordinates(w, places, order=3, mode="nearest") for w in warp])
    grid = np.mgrid[0:last:40j, 0:last:40j]
    longest = np.sqrt(sum(ndimage.map_coordinates(w, grid, order=3) ** 2 for w in warp).max())
    move *= float(regions.deformation[0, slot]) / longest
    u, v = u + move[0], v + move[1]
    norm = np.sqrt(np.maximum(u * u + v * v, 1e-4))
    return (1 - norm) * norm / np.sqrt((u / axes[0]) ** 2 + (v / axes[1]) ** 2 + 1e-12)


def _discs(x: Array, y: Array, px: Array, py: Array, radii: Array) -> Array:
    level = np.full(np.broadcast_shapes(x.shape, y.shape), -8.0, np.float32)
    for cx, cy, radius in zip(px, py, radii, strict=True):
        np.maximum(level, radius - np.sqrt((x - cx) ** 2 + (y - cy) ** 2), out=level)
    return level


def reference_filling(draw: CorruptionDraw, bank: TextureBank, size: tuple[int, ...]) -> Array:
    filling, side = draw.filling, min(size)
    counts = [*bank.counts, 1]
    source = int(filling.source[0])
    first = [0, bank.counts[0], sum(bank.counts[:2]), 0][source]
    pick = np.float32(filling.pick[0].item()) * np.float32(counts[source])
    tile = bank.tiles[first + min(int(pick), counts[source] - 1)].numpy().astype(np.float32)
    x = (np.arange(size[1], dtype=np.float32) + 0.5) / side
    y = (np.arange(size[0], dtype=np.float32)[:, None] + 0.5) / side
    frame, edge = filling.frame[0].numpy(), len(tile)
    across, down = (row[0] * x + row[1] * y + row[2] for row in frame)
    places = [((p + 1) * edge - 1) / 2 for p in (down, across)]
    channels = [tile[..., c] for c in filling.channels[0].tolist()]
    value = [ndimage.map_coordinates(c, places, order=1, mode="reflect") for c in channels]
    gain, offset = filling.gain[0].numpy()[:, None, None], filling.offset[0].numpy()[:, None, None]
    filled = np.clip(gain * np.stack(value) / 255 + offset, 0, 1)
    grey = filled.mean(axis=0)
    return grey + float(filling.saturation[0]) * (filled - grey)


def milliseconds(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """Fastest call of each function, called in turn, after two rounds to warm up.

    The fastest is the one least disturbed by other processes; turns share what disturbance is left.
    """
    fastest = [float("inf")] * len(functions)
    for turn in range(repeats + 2):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            if turn > 1:
                fastest[i] = min(fastest[i], time.perf_counter() - start)
    return [1e3 * seconds for seconds in fastest]


def in_a_step() -> dict[str, float]:
    images = torch.randint(0, 256, (64, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    method = get_method("fae")
    values = complete(method.hyperparameters, {"width": 8, "batch_size": 16, "steps": 1000})
    context = Context(precision="bfloat16", channels_last=True)
    training = Training(TrialData(images, images[:8], images[:8]), values, context)
    corruption, bank, step = milliseconds(
        40,
        lambda: training.batch(3),
        lambda: training.sources.bank(context.generator(1)),
        training.step,
    )
    tiles = bank / 256  # a bank serves 256 steps
    step += tiles
    share = (corruption + tiles) / step
    return {"corruption_ms": corruption, "tiles_ms": tiles, "step_ms": step, "share": share}


def against_numpy() -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    size, batch = (256, 256), 32
    images = torch.rand(batch, 3, *size, generator=generator)
    pool = torch.randint(0, 256, (8, 3, 256, 256), generator=generator).to(torch.uint8)
    bank = TextureSources((images * 255).to(torch.uint8), pool).bank(generator)
    recipe = CorruptionRecipe()
    draw = recipe.draw(batch, size, generator, pool=True)

    def per_sample() -> list[tuple[Array, Array]]:
        return [reference(images[i].numpy(), draw[i : i + 1], bank) for i in range(batch)]

    def batched() -> tuple[torch.Tensor, torch.Tensor]:
        recipe.draw(batch, size, generator, pool=True)
        return apply(images, draw, bank)

    expected = torch.from_numpy(np.stack([pair[0] for pair in per_sample()]))
    difference = (batched()[0] - expected).abs().mean().item()
    ours, numpys = milliseconds(5, batched, per_sample)
    return {
        "batched_ms": ours,
        "per_sample_ms": numpys,
        "speedup": numpys / ours,
        "mean_difference": difference,
    }


def main() -> None:
    threads = len(os.sched_getaffinity(0))
    result: dict[str, object] = {"threads_all": threads, "torch": torch.__version__}
    for name, count in (("one_thread", 1), ("all_threads", threads)):
        torch.set_num_threads(count)
        result[name] = {"step_64x64_batch_16": in_a_step(), "256x256_batch_32": against_numpy()}
    text = json.dumps(result, indent=2, default=float)
    Path(__file__).with_suffix(".json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
