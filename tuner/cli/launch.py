"""`tuner launch`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json


def launch(
    category: Annotated[
        str | None, typer.Option(help="Kind of part to tune for; needed where there are several.")
    ] = None,
    budget: Annotated[
        str, typer.Option(help="Trials (50), wall time (45m, 2h), or device time (6gpuh, 8cpuh).")
    ] = "50",
    data: Annotated[str, typer.Option(help="demo, a folder, or s3://bucket/prefix.")] = "demo",
    method: Annotated[str, typer.Option(help="One method or several, with commas.")] = "fae",
    space: Annotated[str | None, typer.Option(help="Search space: a name or a YAML file.")] = None,
    criterion: Annotated[
        str, typer.Option(help="Label-free criterion that selects; see: tuner list criteria.")
    ] = "synthetic_validation",
    rung_criterion: Annotated[
        str, typer.Option(help="What leads at rungs where --criterion is of a whole study.")
    ] = "synthetic_validation",
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
        str | None, typer.Option(help="Study whose best points are tried first; see: list studies.")
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
    keep: Annotated[int, typer.Option(help="Best trials whose detectors go to MLflow.")] = 3,
    export: Annotated[
        bool, typer.Option(help="Keep the winner as an ONNX graph too, if it says the same.")
    ] = True,
    storage: Annotated[
        str | None, typer.Option(help="Ledger: a database URL; SQLite if missing.")
    ] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow; SQLite if missing.")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and an estimate; train nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
) -> None:
    """Search, select without labels, register the winner.

    Trains trials on the normal images of CATEGORY, judges them by label-free criteria on an
    unlabelled batch, and registers the best as a model with the alias "challenger". Labels, where
    the data have them, are opened only afterwards, for the audit.
    """
    request: dict[str, Any] = {
        "budget": budget,
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
        "keep": keep,
        "export": export,
        "storage": storage,
        "tracking_uri": tracking_uri,
        "address": address,
    }
    with explained(), only_json(as_json):
        from tuner import api
        from tuner.cli.parsing import parse_pins, parse_size
        from tuner.cli.voice import make_voice
        from tuner.job import plan_study

        request["size"] = parse_size(size)
        request["pins"] = parse_pins(pin or [])
        voice = make_voice(to_error=as_json)
        if dry_run:
            config = api.configure(category, data, name=name, **request)
            result = plan_study(config, api.home_at(None), voice).as_dict()
        else:
            result = api.launch(category, data, voice=voice, name=name, **request)
            voice.summary(result)
    if as_json:
        print_json(result)
