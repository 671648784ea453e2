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

    budget: str | int
    parallel: int | None
    workers_per_trial: int
    cpus_per_worker: float | None
    gpus_per_worker: float | None
    engine: Literal["ray", "local"]
    trainer: Literal["auto", "workers", "inline"]
    address: str | None


def launch(
    category: str | None = None,
    data: Place = "demo",
    *,
    budget: str | int = "50",
    method: str | Sequence[str] = "feature-fae",
    space: str | None = None,
    criterion: str = "auto",
    rung_criterion: str = "auto",
    objective: Literal["single", "pareto"] = "single",
    second_criterion: str = "validation_loss",
    seed: int = 0,
    size: int | tuple[int, int] | None = None,
    set: Mapping[str, Value] | None = None,
    textures: str | None = None,
    name: str | None = None,
    rungs: int = 4,
    reduction: int = 2,
    early_stopping: bool = True,
    random_trials: int = 8,
    warm_start: str | None = None,
    replicates: int | None = None,
    held_out: float = 0.2,
    parallel: int | None = None,
    workers_per_trial: int = 1,
    cpus_per_worker: float | None = None,
    gpus_per_worker: float | None = None,
    engine: Literal["ray", "local"] = "ray",
    trainer: Literal["auto", "workers", "inline"] = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    false_positive_rate: float = 0.05,
    threshold: Literal["quantile", "extreme-value"] = "quantile",
    ensemble: int | Literal["auto"] | None = "auto",
    keep: int = 3,
    export: bool = True,
    storage: str | None = None,
    storage_path: str | None = None,
    tracking_uri: str | None = None,
    address: str | None = None,
    home: Place | None = None,
    resume: bool = False,
    durable: bool = False,
    progress: bool | None = None,
    voice: Voice | None = None,
) -> dict[str, Any]:
    """Search, select without labels, register the winner as challenger; returns the summary.

    Every option is named as on the command line, with underscores; `tuner launch --help-all` says
    the same.

    Data: `data` is `demo`, a folder, or `s3://bucket/prefix`; `category` is needed where it holds
    several. `size` is the side of the images or (height, width) in pixels, `held_out` the share of
    the normal images that is kept from training, `textures` a folder of foreign images.

    Search: `method` is one or several, `space` a search space or its file, `set` fixes
    hyperparameters (`{"steps": 800}`), `criterion` selects without labels, `rung_criterion` leads
    where that is of a whole study, `objective` is `single`, or `pareto` with a `second_criterion`.
    `random_trials` are drawn before the sampler, `warm_start` is a study or a version whose best
    points are tried first, `seed` makes a study that can be repeated.

    Budget: `budget` is trials (50), wall time ("2h") or device time ("6gpuh"). A trial is judged at
    `rungs`, 1 in `reduction` goes on at each with `early_stopping`, and `replicates` of them repeat
    the best with another seed.

    Trials: `parallel` at once; `workers_per_trial`, `cpus_per_worker` and `gpus_per_worker` each;
    `engine` is `ray`, or `local` for one after the other without Ray; `trainer`, `precision` and
    `address` (a running Ray cluster) as on the command line.

    Selection: `false_positive_rate` is the share of normal images that the `threshold` may flag,
    `ensemble` joins so many of the best trials into one model (1 for a single trial, `auto` for
    the best at each scale where scales are searched).

    Output: `name` is the study's, `keep` the best trials whose detectors are kept, `export` adds an
    ONNX graph, `storage` is the ledger's database, `storage_path` where trials' files outlive their
    machine, `tracking_uri` MLflow. With `resume` a study of that name is gone on with; with
    `durable` nothing begins where a lost machine would lose results. `progress` says how far it is,
    by default in terminals and notebooks; `voice` is told instead.

    Raises ValueError for anything wrong with the request or the data, StudyExists for a name in
    use, Interrupted where it was stopped, NoWinner where no trial reached a rung.

        summary = tuner.launch("tile", budget=50, seed=1)
        summary["winner"]["hyperparameters"]
    """
    given = {key: value for key, value in locals().items() if key not in _OF_THE_CALL}
    from tuner.job import launch as run

    config = configure(**given)
    return run(config, home_at(home), _voice(voice, progress), resume=resume, durable=durable)


# Arguments of `launch` that are no options of the study.
_OF_THE_CALL = ("home", "resume", "durable", "progress", "voice")


def configure(category: str | None = None, data: Place = "demo", **options: Any) -> StudyConfig:
    """The configuration that `launch` runs with these options, checked. A study without a name gets
    one of the time.

    Raises ValueError.
    """
    from tuner.request import configured, pick_category, study_name

    category = pick_category(str(data), category)
    options["name"] = options.get("name") or study_name(category)
    return configured({**options, "category": category, "data": str(data)})


def resume(
    study: str | None = None,
    *,
    home: Place | None = None,
    progress: bool | None = None,
    voice: Voice | None = None,
    **changes: Unpack[Layout],
) -> dict[str, Any]:
    """Go on with a study that was stopped or killed, the newest if none is named; returns the
    summary. One that has ended is left as it is.

    `changes` hold from now on: a bigger `budget`; `parallel`, `workers_per_trial`,
    `cpus_per_worker`, `gpus_per_worker`, `engine`, `trainer`, `address`. `progress` as in `launch`.
    Raises ValueError for anything wrong with them, and what `launch` raises.
    """
    from tuner.job import resume as run

    if "budget" in changes:
        changes["budget"] = str(changes["budget"])
    there = home_at(home)
    return run(_named(study, there), there, _voice(voice, progress), **changes)


def status(study: str | None = None, *, home: Place | None = None) -> dict[str, Any]:
    """How far a study is, the newest if none is named: its state, what is spent of its budget, the
    best trial so far and every trial. Raises ValueError for an unknown one."""
    from tuner.status import study_status

    there = home_at(home)
    return study_status(_named(study, there), there)


def report(
    study: str | None = None, out: Place | None = None, *, home: Place | None = None
) -> Path:
    """Write the report of a study that has ended, the newest if none is named, and return its path.

    One HTML file; in the study's folder where `out` is not given. Raises ValueError for an unknown
    study, or one that has no winner yet.
    """
    from tuner.reporting import report as write

    there = home_at(home)
    return write(_named(study, there), there, None if out is None else Path(out))


def audit(study: str | None = None, *, home: Place | None = None) -> dict[str, Any] | None:
    """Open the labels of a study's data, the newest if none is named, and measure its winner; None
    where there are none.

    The only call that reads labels. It changes nothing in the study.
    """
    from tuner.job import audit as run

    there = home_at(home)
    return run(_named(study, there), there)


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


def _named(study: str | None, home: Home) -> str:
    """The study that is meant. Raises ValueError where none is named and there is none."""
    from tuner.status import newest

    return study or newest(home)


def _voice(voice: Voice | None, progress: bool | None) -> Voice | None:
    """Who is told of the progress: nobody where neither a terminal nor a notebook shows it."""
    import sys

    if progress is None:
        progress = sys.stderr.isatty() or _in_notebook()
    if voice is not None or not progress:
        return voice
    from tuner.screen.voice import make_voice

    return make_voice(to_error=not _in_notebook())


def _in_notebook() -> bool:
    import sys

    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def home_at(home: Place | None) -> Home:
    """Where state lies."""
    from tuner.study.home import Home

    return Home.here() if home is None else Home.at(home)


def registry_at(home: Home, tracking_uri: str | None) -> str:
    """MLflow's registry: as given, or `$TUNER_TRACKING_URI`, or the one of `home`."""
    from tuner.request import registry_uri

    return registry_uri(tracking_uri, home)
