"""The command line. Engines are imported by the commands that need them, not here."""

from __future__ import annotations

import gc
import sys
import warnings

import typer

from tuner.addresses import spare_loopback
from tuner.cli import (
    audit,
    data,
    jobs,
    launch,
    listing,
    predict,
    promotion,
    report,
    resume,
    serve,
    status,
    submit,
    ui,
)
from tuner.cli.brief import be_brief
from tuner.cli.output import ready_output
from tuner.limits import hold_threads

# Commands of few seconds, most of which go into imports.
BRIEF = ("promote", "history", "retire")

app = typer.Typer(
    name="tuner",
    help="Tune visual anomaly detectors without labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("launch")(launch.launch)
app.command("resume")(resume.resume)
app.command("status")(status.status)
app.command("audit")(audit.audit)
app.command("report")(report.report)
app.command("compare")(report.compare)
app.command("ui")(ui.ui)
app.command("list")(listing.listing)
app.command("promote")(promotion.promote)
app.command("history")(promotion.history)
app.command("retire")(promotion.retire)
app.command("predict")(predict.predict)
app.command("serve")(serve.serve)
app.command("submit")(submit.submit)
app.command("jobs")(jobs.jobs)
app.command("logs")(jobs.logs)
app.command("stop")(jobs.stop)
app.add_typer(data.app, name="data", help="Look at data before tuning on it.")


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(version_of("tuner"))
        raise typer.Exit


def main() -> None:
    """Run the command line; an error that a user can mend is one line and exit code 2."""
    whole_output = ready_output()
    spare_loopback()
    hold_threads()
    # What is imported stays: looking through it for garbage costs a sixth of a short command.
    gc.set_threshold(50_000)
    # What Pillow has to say of a file is no line of its source; what matters is said of the image.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if sys.argv[1:] and sys.argv[1] in BRIEF:
        be_brief()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as ended:
        if not whole_output() and not ended.code:
            sys.exit(2)
        raise
    finally:
        # Nor is it worth a second to look through it once more when the process ends.
        gc.freeze()


if __name__ == "__main__":
    main()
