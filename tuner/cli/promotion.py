"""`tuner promote`, `tuner history`, `tuner retire`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.promotion.gates import Gate
    from tuner.registry.history import Event

Category = Annotated[str, typer.Argument(help="Category: the name of its registered model.")]
Store = Annotated[
    str | None,
    typer.Option("--tracking-uri", help="MLflow's registry; TUNER_TRACKING_URI if missing."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def promote(
    category: Category,
    version: Annotated[
        int | None, typer.Option(help="Version to promote; the challenger if missing.")
    ] = None,
    accept_data: Annotated[
        bool, typer.Option("--accept-data", help="Accept a champion of other images.")
    ] = False,
    require: Annotated[
        list[str] | None,
        typer.Option(help='Audited figure, such as "image_auroc>=0.95". Repeatable.'),
    ] = None,
    require_card: Annotated[
        bool, typer.Option("--require-card", help="Refuse a study without a reliability card.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Return to the previous champion.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Promote although gates are shut; recorded.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; goes into the history.")] = "",
    tracking_uri: Store = None,
    as_json: AsJson = False,
) -> None:
    """Make the challenger of CATEGORY its champion, if it passes gates that need no labels.

    Same images as the champion's; criterion better than the champion's on the same images by more
    than seed noise; false-positive rate on held-out normals within its bound; exported graph equal
    to the model; reliability card not "no better than random". Every gate's figure and reason
    becomes a tag of the version. Exit code 4 where a gate is shut.
    """
    found: Sequence[Gate] = ()
    result, refusal = None, None
    with explained(), only_json(as_json):
        from tuner import api
        from tuner.promotion.promote import PromotionRefused

        try:
            result = api.promote(
                category,
                version,
                accept_data=accept_data,
                require=require or (),
                require_card=require_card,
                force=force,
                reason=reason,
                rollback=rollback,
                tracking_uri=tracking_uri,
            )
            found = result.gates
        except PromotionRefused as error:
            found, refusal = error.gates, error
        if not as_json:
            _gates(found)
    if as_json:
        shut = {"refused": str(refusal), "gates": [vars(gate) for gate in found]}
        print_json({"category": category, **shut} if result is None else result.as_dict())
    with explained():
        if refusal is not None:
            raise refusal
    if result is not None and not as_json:
        event = result.event
        typer.secho(f"{category}: version {event.after} is champion ({event.kind})", fg="green")


def history(category: Category, tracking_uri: Store = None, as_json: AsJson = False) -> None:
    """Show who was champion of CATEGORY when, why, and by which study."""
    with explained(), only_json(as_json):
        from tuner import api

        found = api.history(category, tracking_uri=tracking_uri)
        if not as_json:
            from tuner.screen.tables import print_rows

            print_rows([_row(event) for event in reversed(found)], "no champion yet")
    if as_json:
        print_json({"category": category, "events": [vars(event) for event in found]})


def retire(
    category: Category,
    version: Annotated[int, typer.Option(help="Version to withdraw.")],
    reason: Annotated[str, typer.Option(help="Why; it becomes a tag of the version.")],
    force: Annotated[
        bool, typer.Option("--force", help="Even the champion, and leave none in its place.")
    ] = False,
    tracking_uri: Store = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw a version: it loses its aliases and cannot be promoted or returned to."""
    with explained(), only_json(as_json):
        from tuner import api

        api.retire(category, version, reason, force=force, tracking_uri=tracking_uri)
    if as_json:
        print_json({"category": category, "retired": version, "reason": reason})
    else:
        typer.echo(f"{category}: version {version} is retired")


def _gates(found: Sequence[Gate]) -> None:
    for gate in found:
        mark = typer.style(
            "passed " if gate.passed else "shut   ", fg=None if gate.passed else "red"
        )
        typer.echo(f"{mark} {gate.name}: {gate.reason}")


def _row(event: Event) -> dict[str, object]:
    return {
        "when": event.at,
        "what": event.kind,
        "champion": event.after or None,
        "study": event.study,
        "by": event.by,
        "why": event.reason,
    }
