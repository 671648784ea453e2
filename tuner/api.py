"""What `import tuner` offers, and what the commands call. Everything heavy is imported on use.

State lies under `home`: a folder, by default `$TUNER_HOME` or `./tuner-runs`. `tracking_uri` is
MLflow's store and registry, by default `$TUNER_TRACKING_URI` or the SQLite one in that folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

if TYPE_CHECKING:
    from methods.hyperparameter import Value
    from tuner.prediction.stream import Clock, Unreadable, Verdict
    from tuner.promotion.promote import Promotion
    from tuner.registry.history import Event
    from tuner.registry.package import PackagedDetector
    from tuner.study.config import StudyConfig
    from tuner.study.home import Home
    from tuner.voice import Voice

Place = str | Path


class Layout(TypedDict, total=False):
    """Options that say how far a study goes and where its trials run; they may change midway."""

    budget: str
    parallel: int | None
    workers_per_trial: int
    cpus_per_worker: float | None
    gpus_per_worker: float | None
    engine: Literal["ray", "local"]
    trainer: Literal["auto", "workers", "inline"]
    address: str | None


class Options(Layout, total=False):
    """Options of a study beside its category and data; `tuner launch --help` says what each is."""

    name: str | None
    methods: Sequence[str]
    space: str | None
    criterion: str
    rung_criterion: str
    objective: Literal["single", "pareto"]
    second_criterion: str
    seed: int
    size: tuple[int, int] | None
    held_out: float
    rungs: int
    reduction: int
    random_trials: int
    warm_start: str | None
    replicates: int | None
    early_stopping: bool
    precision: Literal["auto", "float32", "bfloat16"]
    pins: Mapping[str, Value]
    textures: str | None
    false_positive_rate: float
    threshold: Literal["quantile", "extreme-value"]
    ensemble: int | Literal["auto"] | None
    keep: int
    export: bool
    storage: str | None
    storage_path: str | None
    tracking_uri: str | None


def launch(
    category: str | None = None,
    data: Place = "demo",
    *,
    home: Place | None = None,
    voice: Voice | None = None,
    resume: bool = False,
    durable: bool = False,
    **options: Unpack[Options],
) -> dict[str, Any]:
    """Search, select without labels, register the winner as challenger; returns the summary.

    `data` is `demo`, a folder, or `s3://bucket/prefix`; `category` is needed where it holds
    several. With `resume` a study of that name is gone on with; with `durable` nothing begins where
    a lost machine would lose results. Raises ValueError for anything wrong with the request or the
    data, and what `tuner.job.launch` raises.

        summary = tuner.launch("tile", budget="50", seed=1)
        summary["winner"]["hyperparameters"]
    """
    from tuner.job import launch as run

    config = configure(category, data, **options)
    return run(config, home_at(home), voice, resume=resume, durable=durable)


def configure(
    category: str | None = None, data: Place = "demo", **options: Unpack[Options]
) -> StudyConfig:
    """The configuration that `launch` runs, checked. A study without a name gets one of the time.

    Raises ValueError.
    """
    from tuner.request import pick_category, study_name
    from tuner.study.config import StudyConfig

    category = pick_category(str(data), category)
    given: dict[str, Any] = {**options}
    given["name"] = given.get("name") or study_name(category)
    return StudyConfig(category=category, data=str(data), **given)


def resume(
    study: str,
    *,
    home: Place | None = None,
    voice: Voice | None = None,
    **changes: Unpack[Layout],
) -> dict[str, Any]:
    """Go on with a study that was stopped or killed; returns the summary.

    `changes` hold from now on: a bigger budget, more or fewer workers, another cluster. Raises
    ValueError for anything wrong with them, and what `launch` raises.
    """
    from tuner.job import resume as run

    return run(study, home_at(home), voice, **changes)


def audit(study: str, *, home: Place | None = None) -> dict[str, Any] | None:
    """Open the labels of a study's data and measure its winner; None where there are none.

    The only call that reads labels. It changes nothing in the study.
    """
    from tuner.job import audit as run

    return run(study, home_at(home))


def load(
    model: str,
    *,
    home: Place | None = None,
    tracking_uri: str | None = None,
    device: str = "auto",
) -> PackagedDetector:
    """A packaged model, ready to judge images: arrays, file paths, bytes or Pillow's, of any size.

    `model` is `CATEGORY@champion`, `CATEGORY@challenger`, `CATEGORY/3`, a study's name, or the
    folder of a package. `device` is `cpu`, `cuda`, or `auto`. Loading runs no code of the model.
    Raises LookupError, RegistryError and PackageError.

        model = tuner.load("tile@champion")
        found = model.predict("part.png")
        found["score"], found["verdict"], found["map"], found["threshold"]
    """
    from tuner.registry.locate import locate
    from tuner.registry.package import load_package

    there = home_at(home)
    return load_package(locate(model, there, registry_at(there, tracking_uri)).folder, device)


def predict(
    model: str | PackagedDetector,
    images: Place | Sequence[Place],
    *,
    home: Place | None = None,
    tracking_uri: str | None = None,
    device: str = "auto",
    batch: int = 32,
    clock: Clock | None = None,
) -> Iterator[Verdict | Unreadable]:
    """Judge images as a stream: files, folders, globs or `s3://` prefixes, in bounded memory.

    Yields a `Verdict` an image, or an `Unreadable` for one that cannot be read. `clock` is told
    where the time goes. Raises DataError for a place that holds no image, and as `load`.

        for found in tuner.predict("tile@champion", "line/*.png"):
            ...
    """
    from tuner.prediction.places import find
    from tuner.prediction.stream import judge_all

    if isinstance(model, str):
        model = load(model, home=home, tracking_uri=tracking_uri, device=device)
    places = [str(place) for place in ([images] if isinstance(images, str | Path) else images)]
    return judge_all(model, find(places), batch=batch, clock=clock)


def promote(
    category: str,
    version: int | None = None,
    *,
    accept_data: bool = False,
    require: Sequence[str] = (),
    require_card: bool = False,
    force: bool = False,
    reason: str = "",
    rollback: bool = False,
    home: Place | None = None,
    tracking_uri: str | None = None,
) -> Promotion:
    """Make the challenger, or `version`, the champion, if it passes every gate without labels.

    `accept_data` takes a champion of other images; `require` adds audited figures such as
    `image_auroc>=0.95`; `require_card` refuses a study without a reliability card; `force` needs a
    `reason`, and both are recorded. `rollback` returns to the previous champion instead. Raises
    PromotionRefused with the gates that are shut, and as `load`.
    """
    from tuner.promotion.promote import Terms, roll_back
    from tuner.promotion.promote import promote as run

    there = home_at(home)
    uri = registry_at(there, tracking_uri)
    if rollback:
        if version is not None or force or accept_data or require or require_card:
            raise ValueError(
                "a rollback returns to the previous champion; it takes no version and no gates"
            )
        return roll_back(category, uri, there, reason)
    terms = Terms(accept_data, tuple(require), require_card, force, reason)
    return run(category, version, uri, there, terms)


def history(
    category: str, *, home: Place | None = None, tracking_uri: str | None = None
) -> list[Event]:
    """Who was champion when, why, and by which study, oldest first. Raises as `load`."""
    from tuner.promotion.promote import history as run

    return run(category, registry_at(home_at(home), tracking_uri))


def retire(
    category: str,
    version: int,
    reason: str,
    *,
    force: bool = False,
    home: Place | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Withdraw a version: it loses its aliases and cannot be promoted or returned to.

    Raises PromotionRefused for the champion unless `force` is set, and as `load`.
    """
    from tuner.promotion.promote import retire as run

    there = home_at(home)
    uri = registry_at(there, tracking_uri)
    run(category, version, uri, there, reason=reason, force=force)


def compare(studies: Sequence[str], *, home: Place | None = None) -> dict[str, Any]:
    """The winners of two studies or more side by side. Raises ValueError for unknown ones."""
    from tuner.comparison import compare as run

    return run(studies, home_at(home))


def home_at(home: Place | None) -> Home:
    """Where state lies."""
    from tuner.study.home import Home

    return Home.here() if home is None else Home.at(home)


def registry_at(home: Home, tracking_uri: str | None) -> str:
    """MLflow's registry: as given, or `$TUNER_TRACKING_URI`, or the one of `home`."""
    from tuner.request import registry_uri

    return registry_uri(tracking_uri, home)
