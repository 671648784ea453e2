"""A trained autoencoder of any of the four kinds as a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple

import torch
from torch import Tensor

from methods.contract import Diverged, Scoring, unit
from methods.energy_projection.descent import Descent, project
from methods.energy_projection.gradients import gradient_map
from methods.energy_projection.model import VARIATIONAL, EnergyModel, Kind
from methods.energy_projection.settings import GRADIENTS, Path, Setting, understand
from methods.energy_projection.tiles import cut, stitch, tile_size
from methods.networks.bergmann import BergmannAutoencoder
from methods.onepass import Judged, OnePass
from methods.scoring import pipeline, tier
from methods.scoring.normalisation import MapStatistics, packed, unpacked
from methods.state import below, under

_BATCH = 64

# Score, walk and number of iterations.
Counterpart = tuple[str, Path | None, int]


class ProjectionDetector:
    """Scores images by their distance from a projection on the normal images.

    Images are float `[B, 3, H, W]` in [0, 1], any number of them, at the size of the training
    images; they pass through the network 64 tiles at a time. `losses` are the reconstruction losses
    of training tiles, from which the stop rule is taken. Everything is computed in float32, and
    each image for itself. Raises ValueError for images of another size, and `Diverged` where the
    energy of images as given, or a score, is not finite. An image whose steps all fail is compared
    with the last point that was good; `scoring_diagnostics` counts those.

    `statistics` are those of the maps of `normals`, held-out images uint8 `[V, 3, H, W]`, for map
    normalisation. Every score has maps of its own, and most need a walk or a gradient, so they are
    measured when a setting first asks for them, the counts of one path by one walk: weights taken
    before that, and a detector restored from them, have not got them.
    """

    def __init__(
        self,
        model: EnergyModel,
        size: tuple[int, int],
        tiles: int,
        losses: Tensor,
        normals: Tensor | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.size, self.tiles = size, tiles
        self.losses = losses.detach().sort().values
        self.normals = normals
        self.statistics: dict[str, MapStatistics] = {}
        self._went = dict.fromkeys(("projections", "stalled", "diverged"), 0)

    def scoring_diagnostics(self) -> dict[str, float]:
        """Of the projections so far, one an image and walk: how many there were, and how many
        `stalled` or `diverged` (see `descent.Projection`); empty where nothing was projected."""
        names = ("projections", "stalled_projections", "diverged_projections")
        found = dict(zip(names, map(float, self._went.values()), strict=True))
        return found if found["projections"] else {}

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """The mean of the code, averaged over an image's tiles: `[B, code]`."""
        parts = self._tiles(images)
        codes = torch.cat([self.model.network.encode(part)[0] for part in parts.split(_BATCH)])
        return codes.view(len(images), -1, codes.shape[1]).mean(1)

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [0, 1]."""
        return self._stitch([self.model(part) for part in self._tiles(images).split(_BATCH)])

    @torch.no_grad()
    def project(self, images: Tensor, scoring: Scoring) -> Tensor:
        """The projected images x_T `[B, 3, H, W]` in [0, 1]."""
        setting = understand({**scoring, "score": "projection"})
        assert setting.path is not None
        return self._walk(images, setting.path, [setting.iterations])[0]

    @torch.no_grad()
    def inpaint(
        self, images: Tensor, mask: Tensor | None = None, scoring: Scoring | None = None
    ) -> Tensor:
        """Repair images `[B, 3, H, W]`, where `mask` is 1, or blindly where it is None.

        A mask `[B, 1, H, W]` (or one for all, `[1, 1, H, W]`) in [0, 1] multiplies the gradient
        (Dehaene et al., Eq. 7): where it is 0, nothing changes. Without one the setting's update
        decides, by default the error-weighted one (Eq. 8). Raises ValueError for a mask of another
        shape or with other values.
        """
        setting = understand({**(scoring or {}), "score": "projection"})
        path = setting.path
        assert path is not None
        if mask is None:
            return self._walk(images, path, [setting.iterations])[0]
        wanted = (len(images), 1, *images.shape[2:])
        if tuple(mask.shape) not in (wanted, (1, *wanted[1:])):
            raise ValueError(
                f"the mask is {list(mask.shape)}, but must be {list(wanted)} or one for all images,"
                f" {[1, *wanted[1:]]}"
            )
        if not bool(((mask >= 0) & (mask <= 1)).all()):
            raise ValueError(
                f"the mask holds values from {float(mask.min()):g} to {float(mask.max()):g}, but "
                "must be in [0, 1]; 1 where the image is to be repaired"
            )
        known = Path("standard", path.optimiser, path.step_size, path.l1_weight, path.stop_quantile)
        return self._walk(images, known, [setting.iterations], mask.expand(wanted))[0]

    @torch.no_grad()
    def maps(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B, H, W]`, higher is more anomalous."""
        return self.grid_maps(images, [scoring])[0]

    @torch.no_grad()
    def grid_maps(self, images: Tensor, grid: Sequence[Scoring]) -> list[Tensor]:
        """`maps` under each setting; settings share their walks as in `grid_scores`."""
        images = self._here(images)
        settings = [understand(scoring) for scoring in grid]
        self._measure(settings)
        others = self._counterparts(images, settings)
        found = []
        for setting in settings:
            key = _counterpart(setting)
            other = others[key] if key in others else self._gradients(images, key[0])
            found.append(self._judged(images, other, setting)[1])
        for maps in found:
            _refuse_not_finite(maps.flatten(1).sum(1), "map")
        return found

    @torch.no_grad()
    def scores(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B]`."""
        return self.grid_scores(images, [scoring])[0]

    @torch.no_grad()
    def grid_scores(self, images: Tensor, grid: Sequence[Scoring]) -> Tensor:
        """`[S, B]`: settings that differ in the number of iterations, or after the projection,
        share one walk."""
        images = self._here(images)
        settings = [understand(scoring) for scoring in grid]
        result = images.new_empty((len(settings), len(images)))
        rows: dict[Counterpart, list[int]] = {}
        for row, setting in enumerate(settings):
            rows.setdefault(_counterpart(setting), []).append(row)
        self._measure(settings)
        others = self._counterparts(images, settings)
        for key, alike in rows.items():
            parts, own = [settings[row].pipeline for row in alike], self._statistics(key)
            if key in others:
                result[alike] = pipeline.grid_scores(images, others[key], parts, own)
            else:
                plans = [tier.plan_of(part, key[0], self.size) for part in parts]
                raw = {key[0]: self._gradients(images, key[0])}
                result[alike] = tier.grid_scores(raw, plans, own)
        _refuse_not_finite(result.sum(0), "score")
        return result

    def one_pass(self, scoring: Scoring) -> OnePass:
        """Scores and maps at once; see `methods.onepass`."""
        setting = understand(scoring)
        key = _counterpart(setting)
        self._measure([setting])

        def compared(images: Tensor) -> Tensor:
            if key[0] in GRADIENTS:
                return self._gradients(images, key[0])
            if key[0] == "reconstruction":
                return stitch(self.model(cut(images, self.tiles)), self.tiles)
            return self._counterparts(images, [setting])[key]

        def scored(images: Tensor, other: Tensor) -> Judged:
            return self._judged(images, other, setting)

        needs = "" if key[0] == "reconstruction" else f"the score {key[0]} needs a gradient"
        return OnePass(self.model, compared, scored, needs)

    def weights(self) -> dict[str, Tensor]:
        """The network, gamma, the training losses, the maps' statistics, the image size and the
        number of tiles."""
        return {
            **under("model", self.model.state_dict()),
            **under("statistics", packed(self.statistics)),
            "losses": self.losses.cpu().clone(),
            "size": torch.tensor(self.size),
            "tiles": torch.tensor(self.tiles),
        }

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, Tensor], kind: Kind, width: int, code: int
    ) -> ProjectionDetector:
        """The detector that `weights` came from, on the CPU."""
        height, breadth = (int(n) for n in weights["size"])
        tiles = int(weights["tiles"])
        network = BergmannAutoencoder(
            tile_size((height, breadth), tiles), width, code, kind in VARIATIONAL
        )
        model = EnergyModel(kind, network)
        model.load_state_dict(below("model", weights))
        found = cls(model, (height, breadth), tiles, weights["losses"])
        found.statistics = unpacked(below("statistics", weights))
        return found

    def threshold(self, quantile: float) -> float:
        """The training loss at which an image counts as normal."""
        return float(torch.quantile(self.losses, quantile))

    @torch.no_grad()
    def _measure(self, settings: Sequence[Setting]) -> None:
        """Measure the statistics that settings need and that are missing."""
        wanted = [
            setting
            for setting in settings
            if setting.pipeline["map_normalisation"] != "none"
            and not self._statistics(_counterpart(setting))
        ]
        if self.normals is None or not wanted:
            return
        images, went = self._here(unit(self.normals)), dict(self._went)
        others = self._counterparts(images, wanted)
        for key in dict.fromkeys(map(_counterpart, wanted)):
            if key in others:
                found = pipeline.measured(images, others[key])
            else:
                found = {key[0]: MapStatistics.measured(self._gradients(images, key[0]))}
            self.statistics |= {f"{_name(key)}.{name}": each for name, each in found.items()}
        # Diagnostics tell of the images that are scored.
        self._went = went

    def _statistics(self, key: Counterpart) -> dict[str, MapStatistics]:
        return below(_name(key), self.statistics)

    def _judged(self, images: Tensor, other: Tensor, setting: Setting) -> tuple[Tensor, Tensor]:
        """Scores and maps of images from what they are compared with, or from their gradients."""
        statistics = self._statistics(_counterpart(setting))
        if setting.score not in GRADIENTS:
            return pipeline.judged(images, other, setting.pipeline, statistics)
        plan = tier.plan_of(setting.pipeline, setting.score, self.size)
        return tier.judged(other, plan, statistics)

    def _evaluate(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        reconstruction = self.model(tiles)
        return self.model.reconstruction_loss(tiles, reconstruction), reconstruction

    def _walk(
        self, images: Tensor, path: Path, counts: Sequence[int], mask: Tensor | None = None
    ) -> list[Tensor]:
        """The images after each number of iterations along one path."""
        unit = 1.0 if path.optimiser == "adam" else self.model.step_unit()
        descent = Descent(
            path.update,  # type: ignore[arg-type]
            path.optimiser,  # type: ignore[arg-type]
            path.step_size * unit,
            path.l1_weight,
            self.threshold(path.stop_quantile),
        )
        parts = self._tiles(images).split(_BATCH)
        masks: Sequence[Tensor | None] = [None] * len(parts)
        if mask is not None:
            masks = cut(self._here(mask), self.tiles).split(_BATCH)
        walked = [
            project(self._evaluate, part, descent, counts, own)
            for part, own in zip(parts, masks, strict=True)
        ]
        self._went["projections"] += len(images)
        for name in ("stalled", "diverged"):
            tiles = torch.cat([getattr(part, name) for part in walked])
            self._went[name] += int(tiles.view(len(images), -1).any(1).sum())
        return [
            self._stitch(list(parts)) for parts in zip(*(w.images for w in walked), strict=True)
        ]

    def _counterparts(
        self, images: Tensor, settings: Sequence[Setting]
    ) -> dict[Counterpart, Tensor]:
        """What settings compare the images with; what they share is computed once."""
        counts: dict[Path, list[int]] = {}
        for setting in settings:
            if setting.path is not None:
                counts.setdefault(setting.path, []).append(setting.iterations)
        found: dict[Counterpart, Tensor] = {}
        for path, wanted in counts.items():
            distinct = sorted(set(wanted))
            for count, projected in zip(distinct, self._walk(images, path, distinct), strict=True):
                found["projection", path, count] = projected
        for key in {_counterpart(setting) for setting in settings}:
            if key[0] == "reconstruction":
                found[key] = self.reconstruct(images)
            elif key[0] == "projection-reconstruction":
                found[key] = self.reconstruct(found["projection", key[1], key[2]])
        return found

    def _gradients(self, images: Tensor, score: str) -> Tensor:
        parts = self._tiles(images).split(_BATCH)
        found = [gradient_map(self.model, part, score)[:, None] for part in parts]
        return self._stitch(found)[:, 0]

    def _tiles(self, images: Tensor) -> Tensor:
        if tuple(images.shape[2:]) != self.size:
            raise ValueError(
                f"images are {images.shape[2]} x {images.shape[3]}, but this detector was trained "
                f"at {self.size[0]} x {self.size[1]}"
            )
        return cut(self._here(images), self.tiles)

    def _stitch(self, parts: list[Tensor]) -> Tensor:
        return stitch(torch.cat(parts), self.tiles)

    def _here(self, images: Tensor) -> Tensor:
        return images.to(self.losses.device, torch.float32)


def _counterpart(setting: Setting) -> Counterpart:
    """Settings with the same one compare an image with the same thing."""
    return setting.score, setting.path, 0 if setting.path is None else setting.iterations


def _name(key: Counterpart) -> str:
    score, path, count = key
    return score if path is None else "/".join(map(str, (score, *astuple(path), count)))


def _refuse_not_finite(totals: Tensor, what: str) -> None:
    """Raise `Diverged` where a total of an image `[B]` is not a finite number."""
    wrong = int((~totals.isfinite()).sum())
    if wrong:
        raise Diverged(
            f"the {what} of {wrong} of {len(totals)} images is not a finite number: the images or "
            "the network hold values that are not; train again with a smaller learning_rate"
        )
