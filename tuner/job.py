"""The main job, from a configuration to a registered winner: where the rooms meet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from filelock import FileLock, Timeout

from methods.contract import Precision
from methods.hyperparameter import Value
from tuner.mending import mend
from tuner.registry import RegistryError
from tuner.request import as_begun, check_durable, tracking_uri, warmed
from tuner.status import concluded
from tuner.stopping import answering_interrupts, sigterm_as_interrupt
from tuner.study.collector import Collector, depot_uri
from tuner.study.conductor import Conductor, Observer, Terms
from tuner.study.config import StudyConfig, ledger_url, read_config
from tuner.study.database import LedgerUnreachable, database_error, in_the_way, no_room
from tuner.study.depot import DepotError, check_place
from tuner.study.files import TrialFiles
from tuner.study.home import Home, StudyFolder, private
from tuner.study.lease import Lease, LeaseTaken
from tuner.study.ledger import Entry, Ledger, StudyNotFound
from tuner.study.plan import Plan
from tuner.study.recorder import Recorder
from tuner.study.selection import Winner, select
from tuner.study.study_level import STUDY_LEVEL, choose
from tuner.study.trial import TrialSpec
from tuner.study.warm_start import keep_warm_points
from tuner.study.workbench import Workbench, set_up
from tuner.tracking import Tracker, artifacts_of
from tuner.tracking.store import CredentialsRefused, StoreDamaged
from tuner.versions import versions
from tuner.voice import Silent, Voice


class Interrupted(RuntimeError):
    """A study was stopped before its end; what it finished is kept."""


class StudyExists(ValueError):
    """A study of that name is there already."""


@private()
def plan_study(config: StudyConfig, home: Home, voice: Voice | None = None) -> Plan:
    """What `launch` would do, with an estimate. Prepares the data; trains nothing."""
    return Job.prepare(warmed(config, home), home, voice or Silent()).plan


@private()
def launch(
    config: StudyConfig,
    home: Home,
    voice: Voice | None = None,
    *,
    resume: bool = False,
    durable: bool = False,
) -> dict[str, Any]:
    """Run a new study to its end and register the winner; returns the summary.

    With `resume`, a study of that name is gone on with where there is one: in the ledger, whatever
    machine began it. With `durable`, nothing begins that would be lost with this machine.

    Raises StudyExists, ValueError for anything wrong with the request or the data, Interrupted
    where the study was stopped, NoWinner where no trial got to a rung.
    """
    folder = home.study(config.name)
    if folder.config.exists() and not resume:
        raise StudyExists(
            f"a study named {config.name!r} exists; go on with it by: tuner resume {config.name}"
        )
    if durable:
        check_durable(config, home)
    _refuse_anew(config, home)
    config = warmed(as_begun(config, home) if resume else config, home, resume=resume)
    voice = voice or Silent()
    if resume and folder.config.is_file() and (found := _ended(config, home, voice)) is not None:
        return found
    return Job.prepare(config, home, voice).run(resume=resume)


@private()
def resume(name: str, home: Home, voice: Voice | None = None, **changes: Any) -> dict[str, Any]:
    """Go on with a study that was interrupted. One that has ended is left as it is, but for files
    that it has lost, which are made again.

    `changes` are what is asked for otherwise from now on: a bigger budget, other workers.
    """
    config, voice = read_config(name, home).changed(**changes), voice or Silent()
    _refuse_anew(config, home)
    if (found := _ended(config, home, voice)) is not None:
        return found
    return Job.prepare(config, home, voice).run(resume=True)


def _ended(config: StudyConfig, home: Home, voice: Voice) -> dict[str, Any] | None:
    """The summary of a study that has nothing left to do, which is said; else None."""
    found = concluded(config, home, tracking_uri(config, home))
    if found is not None:
        trials = sum(found["trials"].values())
        voice.say(
            f"the study {config.name} has ended, with {trials} trials. For more of them: "
            f"tuner resume {config.name} --budget {2 * trials}"
        )
    return found


def _refuse_anew(config: StudyConfig, home: Home) -> None:
    """Raises ValueError where a study was begun here, but its ledger knows nothing of it: going on
    would be a new beginning that nobody asked for."""
    folder = home.study(config.name)
    if not folder.config.is_file():
        return
    try:
        Ledger.read(ledger_url(config, home), config.name)
    except LedgerUnreachable as error:
        raise LedgerUnreachable(f"{error}. Then go on with: tuner resume {config.name}") from None
    except StudyNotFound as error:
        trials = sum(1 for _ in folder.path.glob("trials/*"))
        raise ValueError(
            f"{error}. The folder {folder.path} says that the study had {trials} trials, and none "
            "of them is run again; a study of another name may be launched"
        ) from None


# What goes wrong with a store of a study, as opposed to the study itself.
_STORES = (RegistryError, CredentialsRefused, StoreDamaged, DepotError, LedgerUnreachable)


@dataclass
class Job:
    """One study on its way: what was asked, what follows from it, and where it lies."""

    config: StudyConfig
    home: Home
    voice: Voice
    workbench: Workbench
    plan: Plan
    began: float

    @classmethod
    def prepare(cls, config: StudyConfig, home: Home, voice: Voice) -> Job:
        """Prepare the data and plan; nothing is trained and no study exists yet."""
        began = time.monotonic()
        if config.storage_path:
            check_place(config.storage_path)
        workbench = set_up(config, home, voice.progress)
        for warning in (*workbench.prepared.warnings, *workbench.cautions):
            voice.warn(warning)
        voice.say("measuring how fast this machine trains")
        plan = workbench.plan(home)
        voice.plan(plan, workbench)
        return cls(config, home, voice, workbench, plan, began)

    @property
    def folder(self) -> StudyFolder:
        return self.home.study(self.config.name)

    def run(self, *, resume: bool) -> dict[str, Any]:
        """Search, select, register, audit; returns the summary."""
        from tuner.outcome import conclude

        self.folder.path.mkdir(parents=True, exist_ok=True)
        lease = Lease(ledger_url(self.config, self.home), self.config.name)
        status = f"see how far it is by: tuner status {self.config.name}"
        try:
            with FileLock(self.folder.lock, timeout=2), lease:
                ledger = self._open_ledger(resume, lease)
                uri = tracking_uri(self.config, self.home)
                tracker = Tracker(uri, artifacts_of(uri), spool=self.folder.spool)
                parent = tracker.start_study(self.config.name, self._tags(), self._parameters())
                self._log_data(tracker, parent)
                recorder = Recorder(tracker, parent)
                collector = Collector(self._files)
                collector.complete(ledger.entries())
                try:
                    self._search(ledger, [collector, recorder])
                except Interrupted:
                    tracker.close()
                    raise
                collector.complete(ledger.entries())
                winner = self._select(ledger, self._mend(ledger))
                return conclude(self, ledger, winner, recorder)
        except Timeout:
            raise Interrupted(
                f"the study {self.config.name} is being run by another process; {status}"
            ) from None
        except LeaseTaken as error:
            raise Interrupted(f"{error}; {status}") from None
        except Interrupted:
            raise
        except Exception as error:
            # Engines wrap what is raised inside them.
            if lease.lost:
                raise Interrupted(
                    f"the study {self.config.name} was silent for too long, and another driver has "
                    f"taken it over; {status}"
                ) from None
            go_on = f"go on with: tuner resume {self.config.name}"
            if isinstance(error, _STORES):
                error.args = (
                    f"{error}. The study's trials are kept; when that is mended, {go_on}",
                )
                raise
            full = no_room(error)
            if full is not None:
                raise Interrupted(
                    f"the ledger or the study's folder cannot be written to ({full}); make room in "
                    f"{self.home.path}, or mend what keeps it from being written to, then {go_on}"
                ) from None
            if database_error(error):
                trouble = in_the_way(error, ledger_url(self.config, self.home))
                raise Interrupted(f"{trouble}; then {go_on}") from None
            raise

    def _mend(self, ledger: Ledger) -> set[int]:
        """Make again what trials have lost; which of them cannot be packaged any more."""
        mended = mend(
            self.workbench,
            ledger.entries(),
            self.folder,
            ledger.notes().get("registered"),
            self._files,
        )
        for text in mended.said:
            self.voice.warn(text)
        return mended.without_weights

    def _select(self, ledger: Ledger, lost: set[int]) -> Winner:
        """The winner, by the criterion of the study where one was asked for and applies."""
        entries, objectives = ledger.entries(), self.workbench.objectives
        entries = [entry for entry in entries if entry.number not in lost] or entries
        ordered: list[Entry] = []
        if self.config.criterion in STUDY_LEVEL:
            pool = self.workbench.pool(entries, self.folder)
            ordered = choose(pool, self.config.criterion, objectives[0])
            if not ordered:
                self.voice.warn(
                    f"{self.config.criterion} applies to no trial (too few finished, or equal "
                    f"scores); the winner is chosen by {objectives[0].name}"
                )
        ordered = ordered or select(entries, objectives, ledger.front())
        size = self.config.ensemble
        if size == "auto":
            return Winner.of(ordered, None, self._each)
        winner = Winner.of(ordered, size)
        asked, there = size or 0, max(1, len(winner.members))
        if there < asked:
            made = f"it is made of {there}" if winner.members else "the winner is that one alone"
            self.voice.warn(
                f"an ensemble of {asked} was asked for, but {there} "
                f"trial{'s' * (there > 1)} can be chosen; {made}"
            )
        return winner

    def _each(self, entry: Entry) -> Value | None:
        """Under which value of what its search space tries each of a trial is; None where it tries
        nothing so."""
        space = self.workbench.space(entry.method)
        return space.complete(entry.point)[space.each] if space.each else None

    def _files(self, number: int) -> TrialFiles:
        place = depot_uri(self.config.storage_path, self.config.name, number)
        return TrialFiles(self.folder.trial(number), place)

    def _open_ledger(self, resume: bool, lease: Lease) -> Ledger:
        config, prepared = self.config, self.workbench.prepared
        keep_warm_points(self.folder.warm_start, self.workbench.warm)
        ledger = Ledger.create(
            ledger_url(config, self.home),
            config.name,
            [objective.direction for objective in self.workbench.objectives],
            self.workbench.spaces,
            seed=config.seed,
            random_trials=config.random_trials,
            reduction=config.reduction if self.plan.early_stopping else None,
            resume=resume,
            warm=self.workbench.warm,
            names=[objective.name for objective in self.workbench.objectives],
            fence=lease.fence,
        )
        known = ledger.notes().get("fingerprint")
        if known not in (None, prepared.fingerprint):
            raise ValueError(
                f"the images of {config.data} have changed since the study {config.name} began "
                f"(fingerprint {prepared.fingerprint[:12]}, was {known[:12]}); launch a new study"
            )
        ledger.note(
            fingerprint=prepared.fingerprint,
            category=config.category,
            data=prepared.location,
            demo=prepared.demo,
            config=config.shared(),
        )
        config.write(self.folder.config)
        return ledger

    def _search(self, ledger: Ledger, observers: Sequence[Observer]) -> None:
        config = self.config
        terms = Terms(
            budget=self.plan.budget,
            objectives=self.workbench.objectives,
            random_trials=config.random_trials,
            rungs=config.rungs,
            blank=self._blank(),
            folder=lambda number: str(self.folder.trial(number)),
            early_stopping=self.plan.early_stopping,
            precisions=self._precisions(ledger),
            depot=partial(depot_uri, config.storage_path, config.name),
            replicates=config.replicates,
            parallel=self.plan.layout.parallel,
        )
        conductor = Conductor(ledger, self.workbench.spaces, terms, observers)
        if not conductor.open:
            return
        watcher = self.voice.watch(self.plan, conductor, ledger)
        if watcher is not None:
            conductor.observe(watcher)
        try:
            with sigterm_as_interrupt(), answering_interrupts(self._stopping):
                self._execute(conductor)
        except KeyboardInterrupt:
            conductor.closing = True
        finally:
            self.voice.unwatch()
        ledger.note(seconds=conductor.spent().seconds)
        if conductor.live or conductor.closing or conductor.open:
            entries = ledger.entries()
            running = sum(entry.state == "running" for entry in entries)
            raise Interrupted(
                f"{conductor.trouble}{'. S' if conductor.trouble else 's'}topped after "
                f"{len(entries) - running} trials; {running} more keep their last rung. "
                f"Go on with: tuner resume {config.name}"
            )

    def _stopping(self) -> None:
        self.voice.say("stopping: finished trials are kept, running ones keep their last rung")

    def _precisions(self, ledger: Ledger) -> Mapping[str, Precision]:
        """The number formats that the study began with: another machine may measure others."""
        kept: dict[str, Precision] = ledger.notes().get("precisions", {})
        found = {**self.plan.precisions, **kept}
        ledger.note(precisions=found)
        return found

    def _execute(self, conductor: Conductor) -> None:
        layout = self.plan.layout
        arrays = self.workbench.with_features(conductor.precisions)
        if self.config.engine == "local":
            from tuner.study.engine_local import run_here

            run_here(conductor, arrays, layout.cpus, layout.gpus)
            return
        from tuner.study.engine_ray import resources_of, run_on_ray

        resources = resources_of(layout, self.config.address)
        run_on_ray(conductor, arrays, resources, self.home.engine)

    def _blank(self) -> TrialSpec:
        return TrialSpec(
            number=-1,
            method="",
            hyperparameters={},
            grid=(),
            criteria=self.workbench.criteria,
            leading=self.workbench.objectives[0].name,
            seed=self.config.seed,
            rungs=self.config.rungs,
            folder="",
            channels_last=all(speed.channels_last for speed in self.plan.speeds.values()),
            device_rate=self.plan.layout.device_rate,
        )

    def _tags(self) -> dict[str, str]:
        config, prepared = self.config, self.workbench.prepared
        return {
            "tuner.study": config.name,
            "tuner.category": config.category,
            "tuner.seed": str(config.seed),
            "tuner.method": ",".join(config.methods),
            "tuner.data": prepared.location,
            "tuner.demo_data": str(prepared.demo).lower(),
            "tuner.fingerprint": prepared.fingerprint,
            **{f"version.{name}": version for name, version in versions().items()},
        }

    def _log_data(self, tracker: Tracker, run: str) -> None:
        """Which data the study is about. No label is counted."""
        prepared, parts = self.workbench.prepared, self.workbench.parts
        tracker.log_dataset(
            run,
            self.config.category,
            prepared.fingerprint[:36],
            prepared.location,
            {
                "normal": len(parts.train),
                "held_out": len(parts.held_out),
                "unlabelled": len(parts.test),
                "height": prepared.size[0],
                "width": prepared.size[1],
                "layout": prepared.layout,
            },
        )

    def _parameters(self) -> dict[str, object]:
        config, plan = self.config, self.plan
        return {
            "budget": config.budget,
            "criterion": config.criterion,
            "rung_criterion": self.workbench.objectives[0].name,
            "objective": config.objective,
            "rungs": config.rungs,
            "reduction": config.reduction,
            "size": f"{plan.size[0]}x{plan.size[1]}",
            **{f"precision.{method}": name for method, name in plan.precisions.items()},
            "parallel": plan.layout.parallel,
            **({"ensemble": config.ensemble} if config.ensemble else {}),
            **{f"pinned.{name}": value for name, value in config.pins.items()},
        }


@private()
def audit(name: str, home: Home) -> dict[str, Any] | None:
    """Open the labels of a study's data and measure its trials and what chose among them.

    Returns None where the data hold no labels. Raises ValueError for an unknown study, or one
    that has no winner yet.
    """
    from tuner.evaluation.study import audit_study

    config = read_config(name, home)
    ledger = Ledger.read(ledger_url(config, home), name)
    registered = ledger.notes().get("registered")
    if registered is None:
        raise ValueError(f"{name} has no winner yet; end it first by: tuner resume {name}")
    workbench, folder = set_up(config, home), home.study(name)
    mend(workbench, ledger.entries(), folder, registered)
    return audit_study(
        workbench,
        ledger,
        folder,
        registered["trial"],
        registered.get("members", ()),
        every_pick=True,
    )
