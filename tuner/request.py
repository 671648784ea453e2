"""What a request for a study leaves open: category, name, stores, the study that warms it."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.addresses import signed_in, with_login
from tuner.study.config import (
    STORAGE_VARIABLE,
    TRACKING_VARIABLE,
    StudyConfig,
    ledger_url,
    read_config,
)
from tuner.study.home import Home
from tuner.tracking import default_uri


def registry_uri(given: str | None, home: Home) -> str:
    """MLflow's store and registry: as given, or `$TUNER_TRACKING_URI`, or the one of `home`.

    A server's credentials go into the environment, where MLflow looks for them."""
    return signed_in(with_login(given, os.environ.get(TRACKING_VARIABLE)) or default_uri(home.path))


def tracking_uri(config: StudyConfig, home: Home) -> str:
    return registry_uri(config.tracking_uri, home)


def check_durable(config: StudyConfig, home: Home) -> None:
    """Raises ValueError where what a study finds would be lost with this machine."""
    if ledger_url(config, home).startswith("sqlite"):
        raise ValueError(
            "the ledger is a file on this machine; give a database that outlives it, by --storage "
            f"or {STORAGE_VARIABLE} (postgresql://user@host/database)"
        )
    if config.address and not config.storage_path:
        raise ValueError(
            "trials on other machines keep their files there; give a place that outlives them, by "
            "--storage-path s3://bucket/prefix"
        )
    if not tracking_uri(config, home).startswith(("http://", "https://")):
        raise ValueError(
            "the tracking store is on this machine; give an MLflow server, by --tracking-uri or "
            f"{TRACKING_VARIABLE}"
        )


def pick_category(data: str, category: str | None) -> str:
    """The category asked for, or the only one of the data; `tile` of the demo data.

    Raises ValueError listing the categories where there are several and none was asked for.
    """
    from tuner.data import open_source

    if category is not None:
        return category
    if data == "demo":
        return "tile"
    names = open_source(data).categories()
    if len(names) != 1:
        raise ValueError(
            f"{data} holds {len(names)} categories; choose one by --category: {', '.join(names)}"
        )
    return names[0]


def configured(options: Mapping[str, Any]) -> StudyConfig:
    """The configuration of options as people name them: `method` is one or several, `set` fixes
    hyperparameters, `size` may be the side of a square. Raises ValueError."""
    given = dict(options)
    if "method" in given:
        method = given.pop("method")
        names = method.split(",") if isinstance(method, str) else method
        given["methods"] = tuple(name.strip() for name in names if name.strip())
    if "set" in given:
        given["pins"] = dict(given.pop("set") or {})
    if isinstance(given.get("size"), int):
        given["size"] = (given["size"],) * 2
    if "budget" in given:
        given["budget"] = str(given["budget"])
    if isinstance(given.get("textures"), Path):
        given["textures"] = str(given["textures"])
    return StudyConfig.asked(**given)


def study_name(category: str) -> str:
    """A name that sorts by time."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", category)[:60].strip("-") or "study"
    return f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}"


def as_begun(config: StudyConfig, home: Home) -> StudyConfig:
    """The same, with what a study of that name, if there is one, keeps from its beginning."""
    with contextlib.suppress(ValueError):
        begun = read_config(config.name, home)
        return config.changed(recipe=begun.recipe, edition=begun.edition)
    return config


def warmed(config: StudyConfig, home: Home, *, resume: bool = False) -> StudyConfig:
    """The same with a study as `warm_start` where it named a registered version, as in
    `tile@champion`; with `resume` the study that was found when it began.

    Raises LookupError where there is no such version, RegistryError.
    """
    from tuner.registry.locate import names_version, study_of

    wanted = config.warm_start
    if wanted is None or not names_version(wanted):
        return config
    known = None
    if resume:
        with contextlib.suppress(ValueError):
            known = read_config(config.name, home).warm_start
    study = known or study_of(wanted, tracking_uri(config, home))
    return config.model_copy(update={"warm_start": study})
