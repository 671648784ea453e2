"""The audit of one study: finds its contenders and hands them to the metrics with the labels."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from methods.contract import MapDetector, unit
from methods.criteria.aggregation import ensemble_scores, top
from methods.criteria.contract import Criterion
from methods.criteria.registry import get_criterion
from methods.ensemble import ENSEMBLE
from tuner.evaluation.audit import (
    Contender,
    Figures,
    Truth,
    audit_contenders,
    contender_figures,
    open_labels,
    rank_trials,
    regions_of,
)
from tuner.evaluation.criteria import judge_criterion, random_pick, standing
from tuner.evaluation.remembered import Remembered
from tuner.evaluation.thresholds import threshold_figures
from tuner.packaging import joint_detector, joint_scores
from tuner.registry.package import WEIGHTS_FILE, read_package
from tuner.study.arms import control_of, default_of
from tuner.study.files import CRITERION_PREFIX, TrialFiles
from tuner.study.home import StudyFolder
from tuner.study.jsonfile import write_json
from tuner.study.judge import best_setting, finite
from tuner.study.ledger import Entry, Ledger
from tuner.study.pool import Pool
from tuner.study.study_level import study_values
from tuner.study.trial import SCORING_CRITERION
from tuner.study.workbench import Workbench, restore

Array = NDArray[Any]

# Of an ensemble that nobody asked for; see benchmarks/selection.py.
USUAL_MEMBERS = 3
# Images at a time: of many, a network's activations no longer fit into the processor's cache.
BATCH = 8


def audit_study(
    bench: Workbench,
    ledger: Ledger,
    folder: StudyFolder,
    winner: int,
    members: Sequence[int] = (),
    *,
    every_pick: bool = False,
) -> dict[str, Any] | None:
    """Open the labels of a study that has ended and measure winner, defaults and best trial, and
    what each criterion's ranking of the trials was worth.

    The winner is a trial, or the packaged ensemble of `members` that it leads. With `every_pick`
    the picks of all criteria get pixel metrics, too, which costs a pass of each one's network over
    the batch. Returns None where the data hold no labels. Nothing of it flows back into the study.
    """
    config = bench.config
    hashes = [bench.prepared.test_hashes[i] for i in bench.parts.test_order]
    prepared = bench.prepared
    labels = open_labels(
        prepared.location, config.category, prepared.size, hashes, prepared.path.parent
    )
    if labels is None:
        return None
    # A trial that has lost its files cannot be measured.
    whole = [e for e in ledger.entries() if not TrialFiles(folder.trial(e.number)).lost()]
    pool = bench.pool(whole, folder)
    study = StudyAudit(bench, folder, pool, labels, bench.objectives[0], control=control_of(whole))
    audit = study.figures(winner, every_pick, members)
    audit["reliability"] = ledger.notes().get("reliability")
    write_json(folder.audit, audit)
    study.draw(audit)
    return audit


class StudyAudit:
    """The trials of a study beside the labels of its batch."""

    def __init__(
        self,
        bench: Workbench,
        folder: StudyFolder,
        pool: Pool,
        labels: Truth,
        leading: Criterion,
        *,
        control: Entry | None = None,
    ) -> None:
        self.bench, self.folder, self.pool, self.labels = bench, folder, pool, labels
        self.leading, self.control = leading, control
        self.study_values = study_values(pool, leading)
        ranked = rank_trials(labels, dict(zip(pool.numbers, pool.scores, strict=True)))
        self.ranked = ranked
        self.aurocs = np.array([ranked[number] for number in pool.numbers])
        self.remembered = Remembered.open(folder.audit_plots / "pixel_figures.json", labels)

    def figures(self, winner: int, every_pick: bool, members: Sequence[int] = ()) -> dict[str, Any]:
        """Everything that the audit says; trials are named by their numbers. Where `members` are
        given, they are the winner, and the trial alone is `single`."""
        pool = self.pool
        chosen = pool.entries[pool.place(winner)]
        # `rank_trials` puts the best first and what is undefined last.
        best = pool.entries[pool.place(next(iter(self.ranked)))]
        default = default_of(pool.entries, chosen.method)
        leaders = self.leaders()
        criteria = {
            name: {
                "of": "trial",
                "direction": pool.declared[name].direction,
                **self.judged(pool.goodness(name)),
                "leading": leaders[name],
            }
            for name in leaders
        }
        criteria |= {
            name: {"of": "study", "direction": "maximize", **self.judged(values), "leading": None}
            for name, values in self.study_values.items()
        }
        alone = "single" if members else "winner"
        contenders = {"winner": self.joint()} if members else {}
        contenders[alone] = self.contender(chosen)
        contenders["best"] = self.contender(best)
        if default is not None:
            setting = self.bench.space(default.method).default_setting
            contenders["default"] = self.contender(default, setting)
        if self.control is not None:
            contenders["control"] = self.contender(self.control)
        named = {winner, best.number}
        picks = {
            number: self.contender(pool.entries[pool.place(number)], localise=every_pick)
            for number in sorted({c["pick"] for c in criteria.values()} - {None} - named)
        }
        # The paper's defaults may be the best there was, or a criterion's pick, under one setting.
        measured: dict[str, Figures] = {}
        regions = regions_of(self.labels)
        audit = audit_contenders(self.labels, contenders, regions, measured)
        others = contender_figures(
            self.labels, {str(n): pick for n, pick in picks.items()}, regions, measured
        )
        self.remembered.keep(measured)
        audit["picks"] = others | {str(winner): audit[alone], str(best.number): audit["best"]}
        audit["criteria"] = criteria
        audit["controls"] = self.controls(default, audit.get("default", {}).get("image_auroc"))
        audit["ensemble"] = self.ensemble(members, audit["winner"]["image_auroc"])
        audit["threshold"] = self.thresholds(chosen, contenders["winner"] if members else None)
        known = self.aurocs[np.isfinite(self.aurocs)]
        audit["trials"] = {
            "winner": winner,
            **({"single": winner, "members": list(members)} if members else {}),
            "default": None if default is None else default.number,
            "control": None if self.control is None else self.control.number,
            "best": best.number,
            "mean_image_auroc": float(known.mean()) if len(known) else None,
            "image_auroc": {str(n): v if np.isfinite(v) else None for n, v in self.ranked.items()},
        }
        return audit

    def judged(self, goodness: Array) -> dict[str, Any]:
        """One criterion against image AUROC over the trials as they were judged."""
        found = judge_criterion(goodness, self.aurocs, self.pool.candidates)
        if found["pick"] is not None:
            found["pick"] = self.pool.numbers[found["pick"]]
        return found

    def leaders(self) -> dict[str, dict[str, Any] | None]:
        """What each criterion would have picked had it chosen the scoring of every trial, too: the
        trial, its setting and their image AUROC; None where it does not apply."""
        found: dict[str, tuple[float, Entry, int, Array]] = {}
        criteria = list(self.pool.declared.values())
        for place in np.flatnonzero(self.pool.candidates):
            entry = self.pool.entries[place]
            kept = self._kept(entry)
            for criterion in criteria:
                best = _at_its_best(kept, criterion)
                if best is not None and best[0] > found.get(criterion.name, (-np.inf,))[0]:
                    found[criterion.name] = (*best[:1], entry, best[1], kept["test"][best[1]])
        return {
            c.name: self._leader(*found[c.name][1:]) if c.name in found else None for c in criteria
        }

    def _leader(self, entry: Entry, setting: int, scores: Array) -> dict[str, Any]:
        auroc = rank_trials(self.labels, {entry.number: scores})[entry.number]
        return {
            "trial": entry.number,
            "scoring": dict(self.bench.space(entry.method).grid[setting]),
            "image_auroc": auroc if np.isfinite(auroc) else None,
        }

    def controls(self, default: Entry | None, auroc: float | None) -> dict[str, Any]:
        """What a pick at random, the random draws, and the defaults were worth."""
        pool = self.pool
        drawn = np.zeros(len(pool), dtype=bool)
        drawn[pool.of_kind("random")] = True
        others = pool.candidates.copy()
        if default is not None:
            others[pool.place(default.number)] = False
        return {
            "random_pick": random_pick(self.aurocs, pool.candidates),
            "random_draws": random_pick(self.aurocs, pool.candidates, drawn),
            "defaults": standing(auroc, self.aurocs[others]),
            "candidates": int(pool.candidates.sum()),
        }

    def ensemble(self, members: Sequence[int], auroc: float | None) -> dict[str, Any]:
        """What the packaged ensemble is worth, or one of the best few trials would have been."""
        pool, packaged = self.pool, bool(members)
        if not members:
            goodness = torch.from_numpy(pool.goodness(self.leading.name))
            able = pool.candidates & np.isfinite(pool.scores).all(1)
            goodness[torch.from_numpy(~able)] = torch.nan
            places = top(goodness, USUAL_MEMBERS)
            members = [pool.numbers[place] for place in places] if len(places) > 1 else []
            rows = torch.from_numpy(pool.scores[places])
            joint = {0: ensemble_scores(rows).numpy()} if members else {}
            auroc = finite(rank_trials(self.labels, joint).get(0, np.nan))
        rivals = self.aurocs[pool.candidates]
        return {"packaged": packaged, "members": list(members), **standing(auroc, rivals)}

    def thresholds(self, entry: Entry, joint: Contender | None = None) -> dict[str, Any]:
        """How often the winner's thresholds flag normal and anomalous test images."""
        rate = self.bench.config.false_positive_rate
        if joint is not None:
            held_out = np.array(read_package(self.folder.package).held_out_scores)
            return threshold_figures(self.labels, joint.scores, held_out, rate)
        kept = self._kept(entry)
        setting = int(kept["setting"])
        return threshold_figures(
            self.labels, kept["test"][setting], kept["held_out"][setting], rate
        )

    def joint(self) -> Contender:
        """Scores and maps of the ensemble that the study packaged."""
        scores = joint_scores(self.folder)
        key = self.remembered.key(self.folder.package / WEIGHTS_FILE, {"method": ENSEMBLE})
        known = self.remembered.of(key)
        if known is not None:
            return Contender(scores, pixels=known)
        detector = joint_detector(self.folder)
        if not isinstance(detector, MapDetector):
            return Contender(scores)
        return Contender(scores, functools.partial(maps_of, self.bench, detector, {}), key=key)

    def contender(
        self, entry: Entry, setting: int | None = None, *, localise: bool = True
    ) -> Contender:
        """A trial's scores and maps, under a setting or under the one that it was judged by."""
        kept = self._kept(entry)
        index = int(kept["setting"]) if setting is None else setting
        space = self.bench.space(entry.method)
        settings = {"method": entry.method, **space.complete(entry.point), **space.grid[index]}
        key = self.remembered.key(TrialFiles(self.folder.trial(entry.number)).detector, settings)
        known = self.remembered.of(key)
        if known is not None or not localise:
            return Contender(kept["test"][index], pixels=known, key=key)
        detector = restore(self.bench, entry, self.folder)
        if not isinstance(detector, MapDetector):
            return Contender(kept["test"][index])
        maps = functools.partial(maps_of, self.bench, detector, space.grid[index])
        return Contender(kept["test"][index], maps, key=key)

    def _kept(self, entry: Entry) -> dict[str, Array]:
        return TrialFiles(self.folder.trial(entry.number)).scores()

    def draw(self, audit: Mapping[str, Any]) -> None:
        """Scatter plots of each criterion against image AUROC, into the study's folder."""
        from tuner.report.scatter import criteria_sheet

        criteria_sheet(
            {**self.pool.criteria, **self.study_values},
            {name: found["spearman"] for name, found in audit["criteria"].items()},
            self.aurocs,
            marked=dict.fromkeys(self.pool.of_kind("default"), "defaults")
            | {self.pool.place(audit["trials"]["winner"]): "winner"},
            path=self.folder.audit_plots / "criteria.png",
            caption="made with labels, after the search",
        )


def _at_its_best(kept: Mapping[str, Array], criterion: Criterion) -> tuple[float, int] | None:
    """A criterion (turned so that more is better) under the setting that it would choose."""
    chooser = criterion if criterion.sees_scoring else get_criterion(SCORING_CRITERION)
    if any(CRITERION_PREFIX + c.name not in kept for c in (chooser, criterion)):
        return None
    by_setting = torch.from_numpy(kept[CRITERION_PREFIX + chooser.name])
    setting = best_setting(by_setting, chooser)
    value = float(kept[CRITERION_PREFIX + criterion.name][setting])
    sign = 1.0 if criterion.direction == "maximize" else -1.0
    return (sign * value, setting) if np.isfinite(value) else None


def maps_of(bench: Workbench, detector: Any, scoring: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """The maps of the test batch, one by one, from a trial's kept detector."""
    for start in range(0, len(bench.data.test), BATCH):
        yield from detector.maps(unit(bench.data.test[start : start + BATCH]), scoring).numpy()
