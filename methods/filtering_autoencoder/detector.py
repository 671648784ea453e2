"""A trained filtering autoencoder as a detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from methods.contract import Precision, Scoring, unit
from methods.filtering_autoencoder.normalisation import Normaliser
from methods.filtering_autoencoder.projection import Projection, divided, project
from methods.networks.unet import UNet
from methods.onepass import OnePass
from methods.scoring import pipeline
from methods.scoring.normalisation import MapStatistics, packed, unpacked
from methods.state import below, under
from methods.training.embedding import Standardiser, blocks

_BATCH = 32


class FilteringDetector:
    """Scores images by what the network would change in them (FAE; Bauer et al., PAE, 2.2).

    Images are float `[B, 3, H, W]` in [0, 1], any number of them: they pass through the network
    32 at a time. Results are float32 on the network's device. See
    `methods.training.embedding` for what `embed` returns and why. With a normaliser
    images are compared as the network sees them; `reconstruct` and `project` answer in the images'
    own light.

    `statistics` are those of the maps of `normals`, held-out images uint8 `[V, 3, H, W]`, for map
    normalisation. `measure` adds those of a projection. More than one iteration costs as many
    passes again, so such a projection is measured when a setting first asks for it: weights taken
    before that, and a detector restored from them, have not got it.
    """

    def __init__(
        self,
        network: UNet,
        size: tuple[int, int],
        precision: Precision = "float32",
        standardiser: Standardiser | None = None,
        normaliser: Normaliser | None = None,
        *,
        normals: Tensor | None = None,
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.size = size
        self.precision = precision
        self._standardiser = standardiser
        self._normaliser = normaliser
        self.normals = normals
        self.statistics: dict[str, MapStatistics] = {}

    @torch.inference_mode()
    def standardise(self, train: Tensor) -> bool:
        """Measure the embedding's scale on clean training images; whether it is finite."""
        parts = [blocks(f, x, r) for x, r, f in map(self._seen, train.split(_BATCH))]
        bottleneck, residual = (torch.cat(part) for part in zip(*parts, strict=True))
        self._standardiser = Standardiser.measured(bottleneck, residual)
        return bool(self._standardiser.centre.isfinite().all())

    @torch.inference_mode()
    def measure(self, projections: Iterable[Projection]) -> None:
        """Measure the statistics that are missing of every discrepancy from these projections."""
        missing = [p for p in dict.fromkeys(projections) if not self._statistics(p)]
        if self.normals is None or not missing:
            return
        images, *others = self._batched(
            unit(self.normals),
            lambda x, r, f: torch.stack([x, *project(self._project, r, missing)]),
            dim=1,
        )
        for projection, other in zip(missing, others, strict=True):
            found = pipeline.measured(images, other)
            self.statistics |= {f"{projection}.{name}": each for name, each in found.items()}

    @torch.inference_mode()
    def reconstruct(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [0, 1]."""
        return self._own_light(images, self._batched(images, lambda x, r, f: r))

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """`[B, 4 width + 18]`; raises RuntimeError before `standardise`."""
        standardiser = self._standardiser
        if standardiser is None:
            raise RuntimeError("the embedding has no scale yet; call standardise first")
        return self._batched(images, lambda x, r, f: standardiser(*blocks(f, x, r)))

    @torch.inference_mode()
    def project(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B, 3, H, W]` in [0, 1]: what the images are compared with under a setting."""
        projection, _ = divided(scoring)
        found = self._batched(images, lambda x, r, f: project(self._project, r, [projection])[0])
        return self._own_light(images, found)

    @torch.inference_mode()
    def maps(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B, H, W]`, smoothed, higher is more anomalous."""
        projection, rest = divided(scoring)
        statistics = self._needed([(projection, rest)])[projection]

        def smoothed(x: Tensor, r: Tensor, f: Tensor) -> Tensor:
            return pipeline.maps(x, project(self._project, r, [projection])[0], rest, statistics)

        return self._batched(images, smoothed)

    @torch.inference_mode()
    def scores(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B]`."""
        return self.grid_scores(images, [scoring])[0]

    @torch.inference_mode()
    def grid_scores(self, images: Tensor, grid: Sequence[Scoring]) -> Tensor:
        """`[S, B]`: one pass through the network, and as many more as the most projections of a
        setting ask for; settings with fewer take their place in the same sequence."""
        divisions = [divided(scoring) for scoring in grid]
        statistics = self._needed(divisions)
        wanted = list(statistics)
        rows = {p: [i for i, (own, _) in enumerate(divisions) if own == p] for p in wanted}

        def scored(x: Tensor, r: Tensor, f: Tensor) -> Tensor:
            result = x.new_empty((len(grid), len(x)))
            for projection, projected in zip(
                wanted, project(self._project, r, wanted), strict=True
            ):
                settings = [divisions[i][1] for i in rows[projection]]
                result[rows[projection]] = pipeline.grid_scores(
                    x, projected, settings, statistics[projection]
                )
            return result

        return self._batched(images, scored, dim=1)

    def one_pass(self, scoring: Scoring) -> OnePass:
        """Scores and maps at once, in float32; see `methods.onepass`."""
        projection, rest = divided(scoring)
        statistics = self._needed([(projection, rest)])[projection]

        def seen(images: Tensor) -> Tensor:
            return images if self._normaliser is None else self._normaliser(images)

        def step(images: Tensor) -> Tensor:
            # In this layout a processor needs 0.55 to 0.75 of the time.
            laid = images.contiguous(memory_format=torch.channels_last)
            return self.network(laid).clamp(0.0, 1.0).contiguous()

        return OnePass(
            self.network,
            lambda images: project(step, step(seen(images)), [projection])[0],
            lambda images, other: pipeline.judged(seen(images), other, rest, statistics),
            "an iterated projection goes on as long as each image needs"
            if projection.iterations > 1
            else "",
        )

    def weights(self) -> dict[str, Tensor]:
        """The network, the embedding's scale, the maps' statistics, the image size and the
        precision."""
        weights = {
            **under("network", self.network.state_dict()),
            **under("statistics", packed(self.statistics)),
            "size": torch.tensor(self.size),
            "bfloat16": torch.tensor(self.precision == "bfloat16"),
        }
        if self._standardiser is not None:
            weights["embedding.centre"] = self._standardiser.centre.cpu().clone()
            weights["embedding.scale"] = self._standardiser.scale.cpu().clone()
        return weights if self._normaliser is None else weights | self._normaliser.weights()

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, Tensor], width: int, kernel: int, skips: bool
    ) -> FilteringDetector:
        """The detector that `weights` came from, on the CPU and in the same precision."""
        height, breadth = (int(n) for n in weights["size"])
        network = UNet(width, kernel, skips, (height, breadth))
        network.load_state_dict(below("network", weights))
        standardiser = None
        if "embedding.centre" in weights:
            standardiser = Standardiser(weights["embedding.centre"], weights["embedding.scale"])
        precision: Precision = "bfloat16" if bool(weights["bfloat16"]) else "float32"
        normaliser = Normaliser.from_weights(weights)
        found = cls(network, (height, breadth), precision, standardiser, normaliser)
        found.statistics = unpacked(below("statistics", weights))
        return found

    def _statistics(self, projection: Projection) -> dict[str, MapStatistics]:
        return below(str(projection), self.statistics)

    def _needed(
        self, divisions: Iterable[tuple[Projection, Scoring]]
    ) -> dict[Projection, dict[str, MapStatistics]]:
        """The statistics of each projection by discrepancy; measured where a setting asks."""
        divisions = list(divisions)
        self.measure(p for p, rest in divisions if rest.get("map_normalisation", "none") != "none")
        return {p: self._statistics(p) for p, _ in divisions}

    def _seen(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `_forward`, for images that are not normalised yet."""
        images = images.to(next(self.network.parameters()).device)
        return self._forward(images if self._normaliser is None else self._normaliser(images))

    def _own_light(self, images: Tensor, results: Tensor) -> Tensor:
        if self._normaliser is None:
            return results
        return self._normaliser.undo(results, images.to(results.device))

    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images, reconstruction and bottleneck features of one batch."""
        parameter = next(self.network.parameters())
        images = images.to(parameter.device)
        layout = torch.contiguous_format
        if parameter.is_contiguous(memory_format=torch.channels_last):
            layout = torch.channels_last
        with torch.autocast(
            parameter.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"
        ):
            output, features = self.network.with_features(images.contiguous(memory_format=layout))
        return images, output.float().clamp(0.0, 1.0).contiguous(), features

    def _project(self, images: Tensor) -> Tensor:
        return self._forward(images)[1]

    def _batched(
        self,
        images: Tensor,
        function: Callable[[Tensor, Tensor, Tensor], Tensor],
        dim: int = 0,
    ) -> Tensor:
        parts = [function(*self._seen(part)) for part in images.split(_BATCH)]
        return torch.cat(parts, dim=dim)
