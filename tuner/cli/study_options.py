"""The options of a study: the same for `tuner launch` and `tuner submit`, some for `resume`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args

import typer

from tuner.api import Layout


def _request(
    category: Annotated[
        str | None, typer.Option(help="Kind of part to tune for; needed where there are several.")
    ] = None,
    budget: Annotated[
        str, typer.Option(help="Trials (50), wall time (45m, 2h), or device time (6gpuh, 8cpuh).")
    ] = "50",
    data: Annotated[str, typer.Option(help="demo, a folder, or s3://bucket/prefix.")] = "demo",
    method: Annotated[
        str, typer.Option(help="One method or several, with commas.")
    ] = "feature-fae",
    space: Annotated[str | None, typer.Option(help="Search space: a name or a YAML file.")] = None,
    criterion: Annotated[
        str,
        typer.Option(
            help="Label-free criterion that selects; see: tuner list criteria. auto takes the one "
            "that measured best for the methods."
        ),
    ] = "auto",
    rung_criterion: Annotated[
        str, typer.Option(help="What leads at rungs where --criterion is of a whole study.")
    ] = "auto",
    objective: Annotated[
        str, typer.Option(help="single, or pareto for two criteria without early stopping.")
    ] = "single",
    second_criterion: Annotated[
        str, typer.Option(help="The other criterion of a Pareto study.")
    ] = "validation_loss",
    seed: Annotated[int, typer.Option(help="Same seed, one trial at a time: same study.")] = 0,
    size: Annotated[
        str | None, typer.Option(help="Image size, 96 or 96x128 (height x width).")
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option("--set", help="Fix a hyperparameter: --set steps=800. Repeatable."),
    ] = None,
    textures: Annotated[
        str | None, typer.Option(help="Folder of foreign images to take textures from.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study; made up if missing.")] = None,
    rungs: Annotated[int, typer.Option(help="Stations at which a trial is judged.")] = 4,
    reduction: Annotated[int, typer.Option(help="1 in this many goes on at each halving.")] = 2,
    early_stopping: Annotated[bool, typer.Option(help="Stop the weak at rungs.")] = True,
    random_trials: Annotated[int, typer.Option(help="Random draws before the sampler.")] = 8,
    warm_start: Annotated[
        str | None,
        typer.Option(
            help="Study whose best points are tried first, or the one that a registered model "
            "comes from: tile@champion. See: list studies."
        ),
    ] = None,
    replicates: Annotated[
        int | None,
        typer.Option(
            help="Of the trials, how many repeat the best ones with another seed at the end; 2 "
            "from 40 trials on if missing."
        ),
    ] = None,
    held_out: Annotated[
        float, typer.Option(help="Share of the normal images kept from training.")
    ] = 0.2,
    parallel: Annotated[int | None, typer.Option(help="Trials at once.")] = None,
    workers_per_trial: Annotated[int, typer.Option(help="Data-parallel workers a trial.")] = 1,
    cpus_per_worker: Annotated[float | None, typer.Option(help="Processors of a worker.")] = None,
    gpus_per_worker: Annotated[float | None, typer.Option(help="GPUs of a worker.")] = None,
    engine: Annotated[
        str, typer.Option(help="ray, or local: one trial at a time in this process, no Ray.")
    ] = "ray",
    trainer: Annotated[
        str, typer.Option(help="auto, workers (Ray Train), or inline (the trial's own process).")
    ] = "auto",
    precision: Annotated[str, typer.Option(help="auto (measured), float32 or bfloat16.")] = "auto",
    false_positive_rate: Annotated[
        float, typer.Option(help="Share of normal images that the threshold may flag.")
    ] = 0.05,
    threshold: Annotated[
        str,
        typer.Option(
            help="quantile of held-out normals, or extreme-value: a fitted tail, for lower rates."
        ),
    ] = "quantile",
    ensemble: Annotated[
        str,
        typer.Option(
            help="Register the best so many trials as one model, of which an image costs so many "
            "passes; 1 for a single trial. auto: the best trial at each scale at which the "
            "images are looked at, where the methods compare scales, else a single one."
        ),
    ] = "auto",
    keep: Annotated[int, typer.Option(help="Best trials whose detectors go to MLflow.")] = 3,
    export: Annotated[
        bool, typer.Option(help="Keep the winner as an ONNX graph too, if it says the same.")
    ] = True,
    storage: Annotated[
        str | None, typer.Option(help="Ledger: a database URL; $TUNER_STORAGE, or SQLite.")
    ] = None,
    storage_path: Annotated[
        str | None,
        typer.Option(help="Where trials' files outlive their machine: s3://bucket/prefix."),
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow; $TUNER_TRACKING_URI, or SQLite.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster: auto, or host:6379.")
    ] = None,
) -> dict[str, Any]:
    """A request as `StudyConfig` takes it; texts that only the command line writes are parsed."""
    from tuner.cli.parsing import parse_ensemble, parse_pins, parse_size

    return {
        "budget": budget,
        "data": data,
        "methods": tuple(part.strip() for part in method.split(",") if part.strip()),
        "space": space,
        "criterion": criterion,
        "rung_criterion": rung_criterion,
        "objective": objective,
        "second_criterion": second_criterion,
        "seed": seed,
        "textures": textures,
        "rungs": rungs,
        "reduction": reduction,
        "early_stopping": early_stopping,
        "random_trials": random_trials,
        "warm_start": warm_start,
        "replicates": replicates,
        "held_out": held_out,
        "parallel": parallel,
        "workers_per_trial": workers_per_trial,
        "cpus_per_worker": cpus_per_worker,
        "gpus_per_worker": gpus_per_worker,
        "engine": engine,
        "trainer": trainer,
        "precision": precision,
        "false_positive_rate": false_positive_rate,
        "threshold": threshold,
        "ensemble": parse_ensemble(ensemble),
        "keep": keep,
        "export": export,
        "storage": storage,
        "storage_path": storage_path,
        "tracking_uri": tracking_uri,
        "address": address,
        "category": category,
        "name": name,
        "size": parse_size(size),
        "pins": parse_pins(pin or []),
    }


_OPTIONS = inspect.signature(_request, eval_str=True).parameters


def takes_study(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a study before its own.

    It is called with `study`, which makes the request when it is called: a wrong text is then
    explained like any other error.
    """
    return _taking(
        list(_OPTIONS.values()),
        "study",
        lambda asked: functools.partial(_request, **asked),
        command,
    )


def takes_changes(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command those options that may change midway, before its own.

    It is called with `changes`: those of them that were given.
    """
    options = [
        _OPTIONS[name].replace(default=None, annotation=_or_none(_OPTIONS[name].annotation))
        for name in Layout.__annotations__
    ]
    return _taking(
        options,
        "changes",
        lambda asked: {name: value for name, value in asked.items() if value is not None},
        command,
    )


def _or_none(annotated: Any) -> Any:
    kind, *option = get_args(annotated)
    return Annotated[kind | None, *option]


def _taking(
    options: Sequence[inspect.Parameter],
    name: str,
    made: Callable[[dict[str, Any]], object],
    command: Callable[..., None],
) -> Callable[..., None]:
    """A command that takes options before its own, and is called with what is made of them."""
    own = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.name != name
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        asked = {option.name: given.pop(option.name) for option in options}
        command(**{name: made(asked)}, **given)

    kinds = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*options, *own)]
    run.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in kinds}
    del run.__wrapped__
    return run


def given_arguments(context: typer.Context) -> list[str]:
    """The options of a study as they were given on the command line, to be given again elsewhere.

    What was not given is left out, and so is what came from the environment of this machine.
    """
    arguments: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name not in _OPTIONS or source is None or source.name != "COMMANDLINE":
            continue
        arguments += _written(parameter, context.params[name])
    return arguments


def _written(parameter: Any, value: Any) -> list[str]:
    option = parameter.opts[0]
    if isinstance(value, bool):
        return [option if value else parameter.secondary_opts[0]]
    values = value if isinstance(value, list | tuple) else [value]
    return [text for one in values for text in (option, str(one))]
