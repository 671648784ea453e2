"""`tuner serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json


def serve(
    model: Annotated[
        str,
        typer.Argument(help="CATEGORY@champion, CATEGORY@challenger, CATEGORY/3, or a study."),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 5001,
    check: Annotated[bool, typer.Option("--check", help="Start, judge one image, stop.")] = False,
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow's registry; TUNER_TRACKING_URI if missing.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output, once it serves.")
    ] = False,
) -> None:
    """Serve a packaged model by MLflow's scoring server, checked before it is announced.

    POST /invocations takes an image file, files as multipart/form-data, {"images": [base64]}, or
    {"inputs": uint8 [B, H, W, 3]}, of any size. ?map=true asks for heat maps. Ctrl-C stops it.
    """
    with explained():
        with only_json(as_json):
            from tuner import api
            from tuner.prediction.serving import serving
            from tuner.registry.locate import locate

            home = api.home_at(None)
            found = locate(model, home, api.registry_at(home, tracking_uri))
        with serving(found.folder, host, port) as served:
            said = {key: served.answer[key] for key in ("score", "verdict", "threshold")}
            curl = f"curl -F image=@part.png {served.url}/invocations"
            if as_json:
                print_json({"model": model, "url": served.url, "checked": said, "curl": curl})
            else:
                typer.echo(f"{found.what} is served at {served.url}/invocations")
                typer.echo(f"try it by: {curl}")
            if not check:
                typer.echo("Ctrl-C stops it", err=True)
                served.process.wait()
