"""The `modelyard` command: the list of verbs, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import sys

import typer

from modelyard_build.errors import BuildError
from modelyard_client.errors import ClientError
from modelyard_ops.console import stderr
from modelyard_ops.errors import OpsError
from modelyard_server.errors import ServerError

EXIT_FAILED = 1
# typer ends with this on Ctrl-C, and with 2 on wrong usage.
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
    from modelyard_ops.commands import build, demo, doctor, explain, list_, perf, serve, status, stop, verify

    app.command("build")(build.build)
    app.command("verify")(verify.verify)
    app.command("explain")(explain.explain)
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
        app()
    except (BuildError, ServerError, ClientError, OpsError) as error:
        stderr.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(EXIT_FAILED)
    except SystemExit as ended:
        if ended.code == EXIT_INTERRUPTED:
            stderr.print("interrupted", style="yellow")
        raise
