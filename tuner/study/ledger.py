"""The truth about the trials of a study: an Optuna study in a relational store.

Only the driver writes to it. Whatever executes trials may be lost; what the ledger says stays.
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import Engine

from methods.criteria.contract import Direction
from methods.hyperparameter import Value
from search_spaces.loader import Choice
from tuner.study.database import engine_options, missing, open_with
from tuner.study.files import Record
from tuner.study.space import MethodSpace
from tuner.study.store import DriverStore

Outcome = Literal["finished", "stopped_early", "failed"]
# A `sibling` begins a method's defaults from another usual initial value, a `learned` trial is at
# what another trial learned by gradient, a `warm` one at what did well in another study, and a
# `replicate` repeats another trial with another seed, and a `control` is only compared with.
Kind = Literal["default", "sibling", "random", "search", "learned", "warm", "replicate", "control"]

# Trials that do not wait for the sampler: offered when a study is made.
_GIVEN = ("default", "control", "sibling", "warm")

_STATES = {
    "finished": TrialState.COMPLETE,
    "stopped_early": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True)
class WarmPoint:
    """A point that did well elsewhere; `source` says where, for people."""

    method: str
    point: Mapping[str, Value]
    source: str


class StudyTaken(ValueError):
    """A study of that name is in the ledger already."""


class StudyNotFound(LookupError):
    """No study of that name is in the ledger."""


@dataclass(frozen=True)
class Entry:
    """One trial as the ledger holds it.

    `group` names the siblings that it belongs to, `origin` the trial that learned its point or
    that it repeats, `source` the study and trial that a warm start took it from, `learned` the
    point that it learned itself. `consensus` says how far it ranks the unlabelled images as the
    trials before it did (see `tuner.study.consensus`), None where nothing is known. `deaths` counts
    how often the process of a trial was lost since its last rung.
    """

    number: int
    kind: Kind
    method: str
    point: Mapping[str, Value]
    state: Literal["running", "finished", "stopped_early", "failed"]
    records: tuple[Record, ...]
    value: float | None
    reason: str
    started: float | None
    ended: float | None
    group: str = ""
    origin: int | None = None
    learned: Mapping[str, Value] = field(default_factory=dict)
    consensus: float | None = None
    study_warnings: tuple[str, ...] = ()
    source: str = ""
    deaths: int = 0

    @property
    def last(self) -> Record:
        return self.records[-1] if self.records else {}

    @property
    def rung(self) -> int:
        return int(self.last.get("rung", 0))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its method and the study warn of, a sentence each."""
        return (*self.last.get("warnings", ()), *self.study_warnings)

    @property
    def device_seconds(self) -> float:
        return float(self.last.get("device_seconds", 0.0))


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Open a store; its first use is serialised between processes. Raises LedgerUnreachable."""
    return open_with(url, _open)


def _open(url: str) -> optuna.storages.RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return optuna.storages.RDBStorage(url, engine_kwargs=engine_options(url))


class Ledger:
    """The trials of one study."""

    def __init__(
        self,
        study: optuna.Study,
        spaces: Sequence[MethodSpace],
        warm: Sequence[WarmPoint] = (),
        store: DriverStore | None = None,
    ) -> None:
        self._study = study
        self._spaces = {space.method: space for space in spaces}
        self._sampled = sorted(space.method for space in spaces if not space.control)
        self._warm = tuple(warm)
        self._draft = contextlib.nullcontext if store is None else store.draft
        self._closing = contextlib.nullcontext if store is None else store.closing
        # Nothing of a trial that was told to the sampler changes any more.
        self._told: dict[int, Entry] = {}

    @classmethod
    def create(
        cls,
        url: str,
        name: str,
        directions: Sequence[Direction],
        spaces: Sequence[MethodSpace],
        *,
        seed: int,
        random_trials: int,
        reduction: int | None,
        resume: bool = False,
        warm: Sequence[WarmPoint] = (),
        names: Sequence[str] = (),
        fence: Callable[[Engine], None] = lambda engine: None,
    ) -> Ledger:
        """Open a study to add trials to it; every method's defaults are its first trials, then
        their siblings, then `warm` points. A study that is continued keeps its own warm points.
        `names` are those of the objectives, for Optuna's own pages.

        `reduction` is the rate of successive halving (its eta), None for no early stopping. With
        `resume` a study of that name is continued, and what a killed driver left half-written is
        completed. `fence` is told of the engine before anything is written through it (see
        `Lease`). Raises StudyTaken for a name in use otherwise.
        """
        database = open_storage(url)
        fence(database.engine)
        store = DriverStore(database)
        pruner = (
            optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=reduction)
            if reduction
            else optuna.pruners.NopPruner()
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=random_trials + _given(spaces) + len(warm),
                multivariate=True,
                group=len(spaces) > 1 or any(space.unless for space in spaces),
                constant_liar=True,
                seed=seed,
            )
            try:
                study = optuna.create_study(
                    storage=store,
                    study_name=name,
                    directions=list(directions),
                    sampler=sampler,
                    pruner=pruner,
                    load_if_exists=resume,
                )
            except optuna.exceptions.DuplicatedStudyError:
                raise StudyTaken(
                    f"the ledger holds a study named {name!r}; go on with it by: "
                    f"tuner resume {name}"
                ) from None
            if names:
                study.set_metric_names(list(names))
        ledger = cls(study, spaces, warm, store)
        ledger._complete(random_trials)
        return ledger

    @classmethod
    def read(cls, url: str, name: str) -> Ledger:
        """Open a study to look at it. Raises StudyNotFound, LedgerUnreachable."""
        if (lost := missing(url)) is not None:
            raise StudyNotFound(f"{lost}. It would know the study {name!r}")
        try:
            return cls(optuna.load_study(study_name=name, storage=open_storage(url)), ())
        except KeyError as error:
            raise StudyNotFound(f"the ledger holds no study named {name!r}") from error

    def enqueue(
        self,
        method: str,
        point: Mapping[str, Value],
        kind: Kind,
        *,
        group: str = "",
        origin: int | None = None,
        source: str = "",
    ) -> None:
        """Offer a point to be tried before the sampler draws the next one.

        It takes a draw's place in the budget when it is tried, and costs nothing before. Values
        that the space does not draw go along beside the sampler, which does not learn from them.
        """
        drawn = self._spaces[method].drawn
        params = {f"{method}.{name}": value for name, value in point.items() if name in drawn}
        if len(self._sampled) > 1 and method in self._sampled:
            params["method"] = method
        marks: dict[str, Any] = {"kind": kind, "method": method}
        beside = {name: value for name, value in point.items() if name not in drawn}
        marks |= {"beside": beside} if beside else {}
        marks |= {"group": group} if group else {}
        marks |= {"origin": origin} if origin is not None else {}
        marks |= {"source": source} if source else {}
        self._study.enqueue_trial(params, user_attrs=marks)

    def offered(self, method: str, origin: int) -> bool:
        """Whether what a trial learned was offered to a method already."""
        marks = [trial.user_attrs for trial in self._study.get_trials(deepcopy=False)]
        wanted = {"kind": "learned", "origin": origin, "method": method}
        return any(wanted.items() <= m.items() for m in marks)

    def remember(self, number: int, **marks: Any) -> None:
        """Write facts about a running trial."""
        trial = optuna.trial.Trial(self._study, self._frozen(number)._trial_id)
        for name, value in marks.items():
            trial.set_user_attr(name, value)

    def count_death(self, number: int) -> int:
        """Write down that the process of a trial was lost; how often since its last rung."""
        entry = self.entry(number)
        self.remember(number, deaths=(len(entry.records), entry.deaths + 1))
        return entry.deaths + 1

    def ask(self, random_trials: int) -> Entry:
        """Draw the next point and write it down as running."""
        with self._draft():
            number = self._draw(self._study.ask(), random_trials).number
        return self.entry(number)

    def _complete(self, random_trials: int) -> None:
        """Finish whatever was begun when a driver died: defaults not yet offered, points half
        drawn, ends written down but not told to the sampler."""
        trials = self._study.get_trials(deepcopy=False)
        self._offer_given(sum(t.user_attrs.get("kind") in _GIVEN for t in trials))
        for frozen in trials:
            if frozen.state != TrialState.RUNNING:
                continue
            if "point" not in frozen.user_attrs:
                self._draw(optuna.trial.Trial(self._study, frozen._trial_id), random_trials)
            elif "outcome" in frozen.user_attrs:
                # Earlier versions wrote the end down before they closed the trial.
                self._tell(frozen, frozen.user_attrs["outcome"], frozen.user_attrs.get("values"))

    def _offer_given(self, already: int) -> None:
        """Enqueue defaults, controls and siblings but for the first `already` of them."""
        spaces = self._spaces.values()
        groups = {s.method: group_name(s.method) if s.siblings else "" for s in spaces}
        given: list[tuple[str, Mapping[str, Value], Kind]] = [
            (space.method, space.defaults, "default") for space in spaces if not space.control
        ]
        given += [(space.method, {}, "control") for space in spaces if space.control]
        given += [(s.method, point, "default") for s in spaces for point in s.starts]
        given += [(s.method, point, "sibling") for s in spaces for point in s.siblings]
        for method, point, kind in given[already:]:
            self.enqueue(method, point, kind, group=groups[method])
        for warm in self._warm[max(0, already - len(given)) :]:
            self.enqueue(warm.method, warm.point, "warm", source=warm.source)

    def _draw(self, trial: optuna.Trial, random_trials: int) -> Entry:
        """Draw what a trial still lacks; what it has, it keeps."""
        name = self._method_of(trial)
        space = self._spaces[name]
        point: dict[str, Value] = {}
        for parameter, distribution in space.drawn.items():
            if space.control or space.idle(parameter, point):
                continue
            key = f"{name}.{parameter}"
            if isinstance(distribution, Choice):
                point[parameter] = trial.suggest_categorical(key, distribution.values)
            elif distribution.integer:
                low, high = int(distribution.low), int(distribution.high)
                point[parameter] = trial.suggest_int(key, low, high, log=distribution.log)
            else:
                point[parameter] = trial.suggest_float(
                    key, distribution.low, distribution.high, log=distribution.log
                )
        kind = trial.user_attrs.get("kind")
        if kind is None:
            given = _given(self._spaces.values()) + len(self._warm)
            early = trial.number < random_trials + given
            trial.set_user_attr("kind", "random" if early else "search")
        trial.set_user_attr("method", name)
        trial.set_user_attr("point", {**point, **trial.user_attrs.get("beside", {})})
        return self.entry(trial.number)

    def _method_of(self, trial: optuna.Trial) -> str:
        if trial.user_attrs.get("kind") == "control":
            return str(trial.user_attrs["method"])
        if len(self._sampled) > 1:
            return str(trial.suggest_categorical("method", self._sampled))
        return self._sampled[0]

    def report(self, number: int, record: Record, value: float | None) -> bool:
        """Write a rung down; True where successive halving says to stop this trial.

        `value` is the leading criterion, None where it is undefined (the trial cannot compete) or
        where several objectives leave nothing to stop by.
        """
        frozen = self._frozen(number)
        trial = optuna.trial.Trial(self._study, frozen._trial_id)
        trial.set_user_attr("records", [*frozen.user_attrs.get("records", []), record])
        if len(self._study.directions) > 1 or frozen.user_attrs.get("kind") == "control":
            # A control is no rival that others are stopped for.
            return False
        trial.report(math.nan if value is None else value, record["rung"])
        return value is None or bool(trial.should_prune())

    def end(
        self, number: int, outcome: Outcome, values: Sequence[float] | None, reason: str = ""
    ) -> None:
        """Close a trial; one that is closed already is left as it is."""
        frozen = self._frozen(number)
        if frozen.state.is_finished():
            return
        marks: dict[str, Any] = {"outcome": outcome}
        marks |= {"reason": reason} if reason else {}
        marks |= {"values": list(values)} if values is not None else {}
        with self._closing(marks):
            self._tell(frozen, outcome, values)

    def _tell(self, frozen: FrozenTrial, outcome: Outcome, values: Sequence[float] | None) -> None:
        state = _STATES[outcome]
        if len(self._study.directions) > 1 and outcome == "stopped_early":
            state = TrialState.FAIL
        told = list(values) if values is not None and state == TrialState.COMPLETE else None
        self._study.tell(frozen.number, told, state=state)

    def entries(self) -> list[Entry]:
        """Every trial whose point is drawn, in order."""
        trials = self._study.get_trials(deepcopy=False)
        return [self._entry(t) for t in trials if "point" in t.user_attrs]

    def entry(self, number: int) -> Entry:
        return self._entry(self._frozen(number))

    def _entry(self, trial: FrozenTrial) -> Entry:
        known = self._told.get(trial.number)
        if known is not None:
            return known
        entry = _entry(trial)
        if trial.state.is_finished():
            self._told[trial.number] = entry
        return entry

    def waiting(self) -> int:
        """How many offered points have not been tried yet."""
        states = (TrialState.WAITING,)
        return len(self._study.get_trials(deepcopy=False, states=states))

    def note(self, **values: Any) -> None:
        """Write facts about the study itself."""
        for name, value in values.items():
            self._study.set_user_attr(name, value)

    def notes(self) -> dict[str, Any]:
        return dict(self._study.user_attrs)

    @property
    def directions(self) -> list[Direction]:
        return ["minimize" if d.name == "MINIMIZE" else "maximize" for d in self._study.directions]

    def front(self) -> list[int]:
        """Numbers of the finished trials that no other finished trial beats in every objective."""
        return [trial.number for trial in self._study.best_trials]

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]


def group_name(method: str) -> str:
    return f"{method} starts"


def _given(spaces: Iterable[MethodSpace]) -> int:
    """How many trials of a study are given before the sampler draws its first."""
    return sum(1 + len(space.starts) + len(space.siblings) for space in spaces)


def _entry(trial: FrozenTrial) -> Entry:
    attrs = trial.user_attrs
    states: dict[TrialState, Any] = {state: name for name, state in _STATES.items()}
    return Entry(
        number=trial.number,
        kind=attrs.get("kind", "search"),
        method=attrs.get("method", ""),
        point=attrs.get("point", {}),
        # What is not closed may still be given another end by its driver.
        state=attrs.get("outcome", states.get(trial.state, "running"))
        if trial.state.is_finished()
        else "running",
        records=tuple(attrs.get("records", ())),
        value=trial.values[0] if trial.values else None,
        reason=attrs.get("reason", ""),
        started=trial.datetime_start.timestamp() if trial.datetime_start else None,
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
        group=attrs.get("group", ""),
        origin=attrs.get("origin"),
        learned=attrs.get("learned", {}),
        consensus=attrs.get("consensus"),
        study_warnings=tuple(attrs.get("warnings", ())),
        source=attrs.get("source", ""),
        deaths=_deaths(attrs),
    )


def _deaths(attrs: Mapping[str, Any]) -> int:
    rung, count = attrs.get("deaths", (0, 0))
    return int(count) if rung == len(attrs.get("records", ())) else 0
