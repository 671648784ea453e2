"""The driver's own view of its study: what it writes goes to the database first, what it reads
comes from memory.

A study has one driver at a time (see `Lease`), so that nobody else writes. A store that asks the
database what the running trials look like before every look at a study asks it a hundred times a
trial. A new trial is written whole, in one transaction, and so is the end of one: there is none
with half of a point, or half ended.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

_DRAFT = -1


class DriverStore(BaseStorage):
    """A store of one process, before the store that outlives it."""

    def __init__(self, behind: BaseStorage) -> None:
        self._behind = behind
        self._trials: dict[int, list[FrozenTrial]] = {}
        self._places: dict[int, tuple[int, int]] = {}
        self._drafting = False
        self._marks: dict[str, Any] = {}

    @contextlib.contextmanager
    def draft(self) -> Iterator[None]:
        """A trial that is made within is written at the end, or not at all."""
        self._drafting = True
        try:
            yield
            if _DRAFT in self._places:
                study, number = self._places[_DRAFT]
                trial = self._trials[study][number]
                trial._trial_id = self._behind.create_new_trial(study, trial)
                self._places[trial._trial_id] = study, number
        except BaseException:
            if _DRAFT in self._places:
                study, number = self._places[_DRAFT]
                del self._trials[study][number]
            raise
        finally:
            self._places.pop(_DRAFT, None)
            self._drafting = False

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        known = self._of(study_id)
        if self._drafting and template_trial is None:
            known.append(_blank(len(known)))
            self._places[_DRAFT] = study_id, len(known) - 1
            return _DRAFT
        made = self._behind.create_new_trial(study_id, template_trial)
        known.append(self._behind.get_trial(made))
        self._places[made] = study_id, len(known) - 1
        return made

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        if trial_id != _DRAFT:
            self._behind.set_trial_param(trial_id, param_name, param_value_internal, distribution)
        value = distribution.to_external_repr(param_value_internal)
        trial = self._changed(trial_id)
        trial.params = {**trial.params, param_name: value}
        trial.distributions = {**trial.distributions, param_name: distribution}

    @contextlib.contextmanager
    def closing(self, marks: Mapping[str, Any]) -> Iterator[None]:
        """A trial that ends within gets these attributes with its end, in one transaction: nobody
        sees it ended without them."""
        self._marks = dict(marks)
        try:
            yield
        finally:
            self._marks = {}

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        if self._marks and state.is_finished():
            _finish(self._behind, trial_id, state, values, self._marks)
            done = True
        else:
            done = self._behind.set_trial_state_values(trial_id, state, values)
        # The database has its own clock, and may have been quicker.
        study, number = self._places[trial_id]
        self._trials[study][number] = self._behind.get_trial(trial_id)
        return done

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        if trial_id != _DRAFT:
            self._behind.set_trial_intermediate_value(trial_id, step, intermediate_value)
        trial = self._changed(trial_id)
        trial.intermediate_values = {**trial.intermediate_values, step: intermediate_value}

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id != _DRAFT:
            self._behind.set_trial_user_attr(trial_id, key, value)
        trial = self._changed(trial_id)
        trial.user_attrs = {**trial.user_attrs, key: _as_read(value)}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id != _DRAFT:
            self._behind.set_trial_system_attr(trial_id, key, value)
        trial = self._changed(trial_id)
        trial.system_attrs = {**trial.system_attrs, key: _as_read(value)}

    def get_trial(self, trial_id: int) -> FrozenTrial:
        if trial_id not in self._places:
            return self._behind.get_trial(trial_id)
        study, number = self._places[trial_id]
        return self._trials[study][number]

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        found = [t for t in self._of(study_id) if states is None or t.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        return self._behind.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        self._behind.delete_study(study_id)
        self._trials.pop(study_id, None)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._behind.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._behind.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._behind.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._behind.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._behind.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._behind.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._behind.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[Any]:
        return self._behind.get_all_studies()

    def remove_session(self) -> None:
        self._behind.remove_session()

    def _of(self, study: int) -> list[FrozenTrial]:
        if study not in self._trials:
            self._trials[study] = self._behind.get_all_trials(study, deepcopy=False)
            self._places |= {t._trial_id: (study, t.number) for t in self._trials[study]}
        return self._trials[study]

    def _changed(self, trial_id: int) -> FrozenTrial:
        """A copy of a trial in its place, to be changed: whoever holds the old one keeps it."""
        study, number = self._places[trial_id]
        trial = self._trials[study][number] = copy.copy(self._trials[study][number])
        return trial


def _finish(
    storage: BaseStorage,
    trial_id: int,
    state: TrialState,
    values: Sequence[float] | None,
    marks: Mapping[str, Any],
) -> None:
    """End a trial with its values and attributes, or change nothing.

    Optuna's own calls are a transaction each; these are the parts that they are made of.
    """
    assert isinstance(storage, RDBStorage)
    with _create_scoped_session(storage.scoped_session) as session:
        trial = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
        storage.check_trial_is_updatable(trial_id, trial.state)
        for objective, value in enumerate(values or ()):
            storage._set_trial_value_without_commit(session, trial, objective, value)
        for key, mark in marks.items():
            storage._set_trial_attr_without_commit(
                session, models.TrialUserAttributeModel, trial_id, key, mark
            )
        trial.state, trial.datetime_complete = state, datetime.now()


def _blank(number: int) -> FrozenTrial:
    return FrozenTrial(
        number=number, trial_id=_DRAFT, state=TrialState.RUNNING, value=None,
        datetime_start=datetime.now(), datetime_complete=None, params={}, distributions={},
        user_attrs={}, system_attrs={}, intermediate_values={},
    )  # fmt: skip


def _as_read(value: Any) -> Any:
    """A value as a database gives it back."""
    return json.loads(json.dumps(value))
