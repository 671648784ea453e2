"""`tuner ui`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuner.cli.errors import explained


def ui(
    optuna: Annotated[
        bool, typer.Option("--optuna", help="The ledger in Optuna's dashboard, not MLflow.")
    ] = False,
    study: Annotated[
        str | None, typer.Option(help="Open the stores of this study; else the local ones.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.", min=1, max=65535)] = 5000,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Open MLflow on the studies' runs, until Ctrl-C; prints where they are once it answers."""

    def told(url: str) -> None:
        typer.echo(url)
        typer.echo("Ctrl-C stops it", err=True)
        if show:
            typer.launch(url)

    with explained():
        from tuner.study.home import Home
        from tuner.viewers import view

        typer.echo("starting the page", err=True)
        code = view(Home.here(), study, optuna=optuna, host=host, port=port, told=told)
    raise typer.Exit(code)
