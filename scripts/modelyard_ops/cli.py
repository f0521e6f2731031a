"""The `modelyard` command: the list of verbs, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import sys

import click
import typer

from modelyard_build.errors import BuildError
from modelyard_client.errors import ClientError
from modelyard_ops.console import stderr
from modelyard_ops.errors import OpsError
from modelyard_server.errors import ServerError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

EPILOG = "Exit codes: 0 done; 1 what was asked for failed, the reason is on stderr; 2 wrong usage; 130 interrupted."

app = typer.Typer(
    name="modelyard",
    help="PyTorch models, verified and served by NVIDIA Triton.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def register_commands() -> None:
    """Adds every verb. A new one is a file in `commands/` and a line here."""
    from modelyard_ops.commands import build, demo, doctor, list_, perf, serve, status, stop

    app.command("build")(build.build)
    app.command("list")(list_.list_)
    app.command("serve")(serve.serve)
    app.command("status")(status.status)
    app.command("stop")(stop.stop)
    app.command("perf")(perf.perf)
    app.command("doctor")(doctor.doctor)
    app.command("demo")(demo.demo)


def main() -> None:
    """Runs the command line; a user's mistake ends in one message, never in a traceback."""
    register_commands()
    try:
        status = app(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (BuildError, ServerError, ClientError, OpsError) as error:
        stderr.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(EXIT_FAILED)
    except (KeyboardInterrupt, click.Abort):
        stderr.print("interrupted", style="yellow")
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe (`| head`) went away: not an error of ours.
        sys.exit(0)
    sys.exit(status if isinstance(status, int) else 0)
