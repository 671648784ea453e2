"""Does CutDiff among the corruptions help a filtering autoencoder, and does tuning it help?

    python benchmarks/cutdiff_corruption.py [--steps 150] [--size 48] [--processes 2]

Three arms on the demo's categories, 3 seeds: occlusions alone; half of the corruptions a fixed
CutDiff of half depth; the same where its size, ratio, angle and depth learn by hypergradient from
the unlabelled batch, starting there. Nothing of this is published. Writes `cutdiff_corruption.json`
beside itself, with the learned values of every run.
"""

from __future__ import annotations

from pathlib import Path

from family_runs import Arm, compare, parser

from methods.hyperparameter import Value

START: dict[str, Value] = {"cutdiff_share": 1.0, "cutdiff_size": 0.01, "cutdiff_amplitude": 0.5}
ARMS = {
    "none": Arm("fae", {}),
    "fixed": Arm("fae", START),
    "tuned": Arm("fae-tuned", {**START, "tuning_rate": 0.05}),
}
FIGURES = ("image_auroc", "pixel_auroc", "identity_residual", "contraction_100")


def main() -> None:
    options = parser(str(__doc__).splitlines()[0], list(ARMS)).parse_args()
    compare(ARMS, options, FIGURES, Path(__file__).with_suffix(".json"))


if __name__ == "__main__":
    main()
