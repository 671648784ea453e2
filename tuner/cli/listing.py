"""`tuner list`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json


def listing(
    what: Annotated[str, typer.Argument(help="methods, spaces, criteria, studies or categories.")],
    name: Annotated[
        str | None, typer.Argument(help="One method or space, with all its hyperparameters.")
    ] = None,
    data: Annotated[str, typer.Option(help="Data whose categories to list.")] = "demo",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
) -> None:
    """List what there is to choose from."""
    with explained(), only_json(as_json):
        makers = {
            "methods": _methods,
            "spaces": _spaces,
            "criteria": _criteria,
            "studies": _studies,
            "categories": lambda: _categories(data),
        }
        if what not in makers:
            raise ValueError(f"cannot list {what!r}, only: {', '.join(makers)}")
        details = {"methods": _hyperparameters, "spaces": _space}
        if name is not None and what not in details:
            raise ValueError(f"{what} are listed without a name, but {name!r} was given")
        rows = makers[what]() if name is None else details[what](name)
        if not as_json:
            from tuner.screen.tables import print_rows

            print_rows(rows, f"no {what} yet")
            if name is None and what in details:
                typer.secho(f"more of one: tuner list {what} NAME", err=True, dim=True)
    if as_json:
        print_json({what: rows})


def _methods() -> list[dict[str, Any]]:
    from methods.registry import get_method, method_names

    return [
        {
            "method": name,
            "title": (method := get_method(name)).title,
            "hyperparameters": len(method.hyperparameters),
            "source": method.paper,
        }
        for name in method_names()
    ]


def _hyperparameters(method: str) -> list[dict[str, Any]]:
    from methods.registry import get_method

    return [
        {
            "tier": p.tier,
            "hyperparameter": p.name + (f" ({p.symbol})" if p.symbol else ""),
            "default": p.default,
            "meaning": f"{p.help}; {p.bounds()} ({p.source})",
        }
        for p in get_method(method).hyperparameters
    ]


def _spaces() -> list[dict[str, Any]]:
    from methods.registry import get_method
    from search_spaces.loader import load_search_space, space_names
    from tuner.study.space import build_space

    rows = []
    for name in space_names():
        space = load_search_space(name)
        built = build_space(get_method(space.method), space, "cpu", {})
        rows.append(
            {
                "space": name,
                "title": space.title,
                "method": space.method,
                "drawn": len(space.training),
                "scoring settings": len(built.grid),
            }
        )
    return rows


def _space(name: str) -> list[dict[str, Any]]:
    from search_spaces.loader import Choice, load_search_space

    space = load_search_space(name)
    rows = []
    for parameter, drawn in space.training.items():
        if isinstance(drawn, Choice):
            values = ", ".join(map(str, drawn.values))
        else:
            scale = " (log)" if drawn.log else ""
            values = f"{drawn.low:g} to {drawn.high:g}{scale}"
        rows.append({"tier": "training", "hyperparameter": parameter, "values": values})
    for parameter, listed in space.scoring.items():
        values = ", ".join(map(str, listed))
        rows.append({"tier": "scoring", "hyperparameter": parameter, "values": values})
    return rows


def _criteria() -> list[dict[str, Any]]:
    from methods.criteria.registry import criterion_names, get_criterion
    from tuner.study.study_level import STUDY_LEVEL

    rows = [
        {
            "criterion": c.name,
            "of": "trial",
            "direction": c.direction,
            "sees scoring": "yes" if c.sees_scoring else "no",
            "title": c.title,
            "source": c.source,
        }
        for c in map(get_criterion, criterion_names())
    ]
    rows += [
        {
            "criterion": c.name,
            "of": "study",
            "direction": "maximize",
            "sees scoring": "yes",
            "title": c.title,
            "source": c.source,
        }
        for c in STUDY_LEVEL.values()
    ]
    return rows


def _studies() -> list[dict[str, Any]]:
    from tuner.status import study_status
    from tuner.study.home import Home

    home = Home.here()
    rows = []
    for name in home.study_names():
        try:
            found = study_status(name, home)
        except (ValueError, LookupError) as error:
            typer.secho(f"{name} cannot be read: {error}", err=True, fg="yellow")
            found = dict.fromkeys(("category", "data", "budget", "best"))
            found |= {"state": "unreadable", "trials": ()}
        rows.append(
            {
                "study": name,
                "category": found["category"],
                "data": found["data"],
                "state": found["state"],
                "trials": len(found["trials"]),
                "budget": found["budget"],
                "best": found["best"],
            }
        )
    return rows


def _categories(data: str) -> list[dict[str, Any]]:
    from tuner.addresses import printable
    from tuner.data import open_source

    source = open_source(data)
    kind = "demo data, made by a program" if source.demo else source.layout
    return [{"category": printable(name), "data": kind} for name in source.categories()]
