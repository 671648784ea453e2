"""How well criteria choose without labels on pretrained features, and whether the search pays.

python benchmarks/choice.py pool [--data DIR CATEGORY ...] [--processes 2]
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import product
from pathlib import Path

from cells import finish, run
from choice_pool import Training, train
from choice_tasks import sources_of

POOL = Path(tempfile.gettempdir()) / "tuner-benchmarks" / "choice"
BLOCKS = ((0, 8), (1, 8), (0, 16), (1, 16), (2, 16), (0, 20), (1, 20), (2, 20))


def pool(options: argparse.Namespace) -> None:
    """Train what the pool lacks, a block of trials a surface at a time, so that a run that is cut
    off is balanced."""
    data = [(str(Path(folder).resolve()), name) for folder, name in options.data]
    sources = sources_of(data)
    trainings = {}
    for (seed, last), source in product(BLOCKS, sources):
        for trial in range(-1, last):
            own = Training(str(options.pool), source, seed, trial)
            trainings.setdefault(own.label, own)
    file = options.pool / "cells.json"
    cells = run(file, {"size": 128}, trainings, train, options.processes)
    seconds = [c["train_seconds"] for c in cells.values() if "train_seconds" in c]
    finish(file, {"size": 128}, cells, {"trainings": len(seconds), "seconds": sum(seconds)})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stage", choices=("pool",))
    parser.add_argument("--data", nargs=2, action="append", default=[], metavar=("DIR", "CATEGORY"))
    parser.add_argument("--pool", type=Path, default=POOL)
    parser.add_argument("--processes", type=int, default=1)
    pool(parser.parse_args())


if __name__ == "__main__":
    main()
