"""The demo generator as a source of images."""

from __future__ import annotations

import hashlib
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

from tuner.data.layouts import Layout
from tuner.data.source import DEMO, Item, Listing, demand


class DemoSource:
    """See `tuner.data.source.Source`."""

    location = DEMO
    layout: Layout = "demo"
    demo = True

    def categories(self) -> list[str]:
        from tuner.data.demo.catalogue import names

        return names()

    def listing(self, category: str) -> Listing:
        from tuner.data.demo.scene import batch_image, counts, training_image

        demand(category, self.categories(), DEMO)
        train, test = counts()
        return Listing(
            category,
            tuple(Item(partial(training_image, category, n), f"normal {n}") for n in range(train)),
            tuple(Item(partial(batch_image, category, slot)) for slot in range(test)),
        )

    def stamp(self, category: str) -> str | None:
        return _generator()


@cache
def _generator() -> str:
    """The generator's own code and what it computes with: images change with nothing else."""
    digest = hashlib.blake2b(digest_size=16)
    for code in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(code.read_bytes())
    for package in ("numpy", "scipy", "scikit-image", "pillow"):
        digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()
