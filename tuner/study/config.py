"""What a user asks of a study; written once beside it, read again by `tuner resume`."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from methods.hyperparameter import Value
from methods.naming import meant
from search_spaces.loader import EDITION
from tuner.addresses import (
    STORAGE_VARIABLE,
    TRACKING_VARIABLE,
    with_login,
    without_credentials,
)
from tuner.data import RECIPE
from tuner.study.home import Home

# What a trained detector on features has to beat: the method that trains nothing.
CONTROL = "patch-memory"

AUTO = "auto"
"""The criterion that measured best for the methods of a study."""

# Streams of a study's seed.
SPLIT_STREAM = 0x5B
SYNTHETIC_STREAM = 0x5D

_PLACES = ("storage", "tracking_uri", "storage_path", "address")
# The Ray that whoever sent this job uses.
RAY_VARIABLE = "TUNER_RAY_VERSION"


class StudyConfig(BaseModel):
    """Every option of `tuner launch`, validated. Nothing in it is derived."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    category: str
    data: str = "demo"
    methods: tuple[str, ...] = ("feature-fae",)
    space: str | None = None
    budget: str = "50"
    criterion: str = AUTO
    rung_criterion: str = AUTO
    objective: Literal["single", "pareto"] = "single"
    second_criterion: str = "validation_loss"
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    size: tuple[int, int] | None = None
    held_out: float = Field(default=0.2, ge=0.05, le=0.5)
    rungs: int = Field(default=4, ge=1, le=32)
    reduction: int = Field(default=2, ge=2, le=8)
    random_trials: int = Field(default=8, ge=0)
    warm_start: str | None = None
    replicates: int | None = Field(default=None, ge=0, le=32)
    early_stopping: bool = True
    parallel: int | None = Field(default=None, ge=1)
    workers_per_trial: int = Field(default=1, ge=1)
    cpus_per_worker: float | None = Field(default=None, gt=0)
    gpus_per_worker: float | None = Field(default=None, ge=0)
    engine: Literal["ray", "local"] = "ray"
    trainer: Literal["auto", "workers", "inline"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    pins: dict[str, Value] = Field(default_factory=dict)
    textures: str | None = None
    false_positive_rate: float = Field(default=0.05, gt=0, lt=1)
    threshold: Literal["quantile", "extreme-value"] = "quantile"
    ensemble: int | Literal["auto"] | None = "auto"
    keep: int = Field(default=3, ge=1)
    export: bool = True
    storage: str | None = None
    storage_path: str | None = None
    tracking_uri: str | None = None
    address: str | None = None
    # Nothing that is asked for: what studies of this version begin with, and go on with.
    recipe: int = RECIPE
    edition: int = EDITION

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name) is None:
            raise ValueError(
                "a study's name begins with a letter or digit, and holds at most 80 letters (A to "
                "Z), digits, dots, dashes and underscores; give another one by --name"
            )
        return name

    @model_validator(mode="after")
    def _measured_best(self) -> Self:
        """Write down which criterion `auto` is: a study goes on by the one that it began with."""
        for name in ("criterion", "rung_criterion"):
            if getattr(self, name) == AUTO:
                object.__setattr__(self, name, usual_criterion(self.methods))
        return self

    @field_validator("storage_path", "data")
    @classmethod
    def _without_keys(cls, place: str | None) -> str | None:
        if place and without_credentials(place) != place:
            raise ValueError(
                "a place of files holds no credentials; give those by AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY"
            )
        return place

    @field_validator("ensemble")
    @classmethod
    def _of_some(cls, size: int | Literal["auto"] | None) -> int | Literal["auto"] | None:
        if size is None or size == "auto":
            return size
        if size == 1:
            return None
        # Torch comes with it, and most commands that read a configuration need none.
        from methods.ensemble import FEWEST_MEMBERS, MOST_MEMBERS

        if not FEWEST_MEMBERS <= size <= MOST_MEMBERS:
            raise ValueError(
                f"an ensemble has {FEWEST_MEMBERS} to {MOST_MEMBERS} members; give 1 for a single "
                "winner, or auto"
            )
        return size

    @classmethod
    def asked(cls, **options: Any) -> StudyConfig:
        """What somebody asks for. Raises ValueError, in the names that are used to ask."""
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            raise ValueError(in_words(error)) from None

    def changed(self, **changes: Any) -> StudyConfig:
        """The same study, asked for otherwise. Raises ValueError."""
        return StudyConfig.asked(**{**self.model_dump(), **changes})

    def shared(self) -> dict[str, Any]:
        """What holds on every machine: without the places that may hold passwords."""
        return self.model_dump(mode="json", exclude={"storage", "tracking_uri"})

    def write(self, path: Path, *, shared: bool = False) -> None:
        """Whole or not at all; `shared` writes what holds on every machine. Places are written
        without their credentials."""
        content = self.shared() if shared else self.model_dump(mode="json")
        content |= {
            name: without_credentials(content[name]) for name in _PLACES if content.get(name)
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> StudyConfig:
        """Raises StudyDamaged where the file is not what `write` wrote."""
        try:
            return cls.known(json.loads(path.read_bytes()))
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        except (TypeError, ValueError) as error:
            reason = str(error)
        raise StudyDamaged(f"{path} is damaged ({reason.strip(': ')})")

    @classmethod
    def known(cls, content: dict[str, Any]) -> StudyConfig:
        """What was written down before, by this version or an earlier one."""
        return cls.model_validate({"recipe": 2, "edition": 1, "ensemble": None, **content})


# What is asked for under another name than it is kept by.
_ASKED = {"methods": "method", "pins": "set"}


def in_words(error: ValidationError) -> str:
    """What is wrong with a request, each value by its name."""
    said = []
    for problem in error.errors():
        name = ".".join(_ASKED.get(str(part), str(part)) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = [_ASKED.get(each, each) for each in StudyConfig.model_fields]
            said.append(f"there is no option {name}{meant(name, known)}")
            continue
        text = problem["msg"].removeprefix("Value error, ").replace("Input should", "it must")
        said.append(f"{name} is {problem['input']!r}: {text}")
    return "; ".join(said)


def usual_criterion(methods: Sequence[str]) -> str:
    """The default criterion of methods (`benchmarks/choice.py`, `benchmarks/selection.py`).

    Where a memory of pretrained features stands beside the trials, it has a say; one that competes
    itself would agree with nobody as much as with itself.
    """
    # Torch comes with them, and most commands that read a configuration need none.
    from methods.contract import FeatureMethod
    from methods.registry import get_method, method_names

    known = [get_method(name) for name in methods if name in method_names()]
    on_features = any(isinstance(method, FeatureMethod) for method in known)
    if on_features and CONTROL not in methods:
        return "agreed_score_variance"
    return "referenced_synthetic_validation"


class StudyDamaged(ValueError):
    """What was asked of a study cannot be read."""


def ledger_url(config: StudyConfig, home: Home) -> str:
    """The database of a study's ledger: as asked for, or `$TUNER_STORAGE`, or the home's own. What
    was written down has no credentials; those of the variable serve where the place is the same."""
    return with_login(config.storage, os.environ.get(STORAGE_VARIABLE)) or home.ledger_url


def read_config(name: str, home: Home) -> StudyConfig:
    """The configuration of a study. Raises ValueError listing the studies that exist."""
    folder = home.study(name)
    elsewhere = os.environ.get(STORAGE_VARIABLE)
    if not folder.config.is_file() and elsewhere:
        from tuner.study.ledger import Ledger, StudyNotFound

        # Begun on another machine: the ledger knows what was asked.
        with contextlib.suppress(StudyNotFound):
            return StudyConfig.known(Ledger.read(elsewhere, name).notes()["config"])
    if not folder.config.is_file():
        known = ", ".join(home.study_names()) or "none yet"
        close = meant(name, home.study_names()).rstrip("?")
        raise ValueError(
            f"no study is named {name!r} under {home.path}; there are: {known}{close}. Name one of "
            "them, or give the folder that it lies in by TUNER_HOME, or its ledger by "
            f"{STORAGE_VARIABLE}"
        )
    try:
        return StudyConfig.read(folder.config)
    except StudyDamaged as error:
        raise StudyDamaged(
            f"{error}. Its ledger holds what was asked, too: move the file away, give the ledger "
            f"by {STORAGE_VARIABLE} ({home.ledger_url} if --storage named none) and the tracking "
            f"store by {TRACKING_VARIABLE} if --tracking-uri named one; then: tuner resume {name}"
        ) from None
