"""The options of a study: the same for `tuner launch` and `tuner submit`, some for `resume`."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args

import typer

from tuner.api import Layout


def _studies(incomplete: str) -> list[str]:
    """For a shell that completes."""
    from tuner.study.home import Home

    return [name for name in Home.here().study_names() if name.startswith(incomplete)]


StudyName = Annotated[
    str | None,
    typer.Argument(
        help="Name of a study (tuner list studies); the newest if missing.", autocompletion=_studies
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Print every figure at the end, too.", rich_help_panel="Output"
    ),
]


def _request(
    category: Annotated[
        str | None, typer.Option(help="Kind of part; needed where the data hold several.")
    ] = None,
    budget: Annotated[
        str, typer.Option(help="Trials (50), wall time (2h) or device time (6gpuh).")
    ] = "50",
    data: Annotated[str, typer.Option(help="demo, a folder, or s3://bucket/prefix.")] = "demo",
    method: Annotated[
        str, typer.Option(help="One method or several, with commas (list methods).")
    ] = "feature-fae",
    space: Annotated[str | None, typer.Option(help="Search space: a name or a YAML file.")] = None,
    criterion: Annotated[
        str,
        typer.Option(
            help="What selects without labels (list criteria); auto: best measured for the method."
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
        str | None, typer.Option(help="Image size: 96, or 96x128 (height x width).")
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option("--set", help="Fix a hyperparameter, as steps=800. Repeatable."),
    ] = None,
    textures: Annotated[
        str | None, typer.Option(help="Folder of foreign images to take textures from.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the study; from category and time if missing.")
    ] = None,
    rungs: Annotated[int, typer.Option(help="How often a trial is judged while it trains.")] = 4,
    reduction: Annotated[
        int, typer.Option(help="At each rung, 1 in this many trials continues.")
    ] = 2,
    early_stopping: Annotated[bool, typer.Option(help="Stop weak trials at rungs.")] = True,
    random_trials: Annotated[
        int, typer.Option(help="Random draws before the sampler takes over.")
    ] = 8,
    warm_start: Annotated[
        str | None,
        typer.Option(help="Study, or model (tile@champion), whose best points come first."),
    ] = None,
    replicates: Annotated[
        int | None,
        typer.Option(
            help="How many of the last trials repeat the best ones with another seed; 2 from 40 "
            "trials on if missing."
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
        str, typer.Option(help="ray, or local: one trial at a time, without Ray.")
    ] = "ray",
    trainer: Annotated[
        str, typer.Option(help="auto, workers (Ray Train), or inline (the trial's own process).")
    ] = "auto",
    precision: Annotated[str, typer.Option(help="auto (measured), float32 or bfloat16.")] = "auto",
    false_positive_rate: Annotated[
        float, typer.Option(help="Share of good parts that may be flagged.")
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
            help="Join so many of the best trials into one model, at as many passes an image; 1 for"
            " a single trial. auto: the best at each scale, where scales are searched."
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
    """A request as `tuner.launch` takes it; texts that only the command line writes are parsed."""
    from tuner.cli.parsing import parse_ensemble, parse_pins, parse_size

    return {
        "budget": budget,
        "data": data,
        "method": method,
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
        "set": parse_pins(pin or []),
    }


_OPTIONS = inspect.signature(_request, eval_str=True).parameters

# What `--help` shows, in panels and in this order; `--help-all` shows what is after the bar, too.
PANELS = {
    "Data": "data category size | held_out textures",
    "Search": (
        "method criterion pin warm_start seed | space rung_criterion objective second_criterion "
        "random_trials"
    ),
    "Budget": "budget | rungs early_stopping reduction replicates",
    "Trials": (
        "parallel engine | workers_per_trial cpus_per_worker gpus_per_worker trainer precision "
        "address"
    ),
    "Selection": "false_positive_rate ensemble | threshold",
    "Output": "name | keep export storage storage_path tracking_uri",
}


def _show_all(context: typer.Context, asked: bool) -> None:
    if asked:
        for parameter in context.command.params:
            parameter.hidden = False  # type: ignore[attr-defined]
        typer.echo(context.get_help())
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option("--help-all", is_eager=True, callback=_show_all, help="Show every option."),
]


def _in_panels() -> list[inspect.Parameter]:
    """The options of a study in the order of their panels, the rare ones hidden."""
    found = []
    for panel, names in PANELS.items():
        common, rare = (part.split() for part in names.split("|"))
        found += [_shown(_OPTIONS[name], panel, hidden=name in rare) for name in common + rare]
    return found


def _shown(option: inspect.Parameter, panel: str, *, hidden: bool) -> inspect.Parameter:
    kind, info = get_args(option.annotation)
    info = copy.copy(info)
    info.rich_help_panel, info.hidden = panel, hidden
    return option.replace(annotation=Annotated[kind, info])


def takes_study(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a study before its own.

    It is called with `study`, which makes the request when it is called: a wrong text is then
    explained like any other error.
    """
    return _taking(
        _in_panels(), "study", lambda asked: functools.partial(_request, **asked), command
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
