"""The `modelyard` command: the table of verbs, and the one place where an error becomes a sentence and an exit code.

Only the verb that is asked for is imported, so that one is not late for what another needs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module

import typer

EXIT_FAILED = 1
# typer ends with this on Ctrl-C, and with 2 on wrong usage.
EXIT_INTERRUPTED = 130

EPILOG = "Exit codes: 0 done; 1 what was asked for failed, the reason is on stderr; 2 wrong usage; 130 interrupted."

# Where each verb lives: a file in `commands/` and its function. A new one is a line here.
VERBS = {
    "build": "build:build",
    "verify": "verify:verify",
    "explain": "explain:explain",
    "list": "list_:list_",
    "lint": "lint:lint",
    "rule": "rule:rule",
    "serve": "serve:serve",
    "status": "status:status",
    "stop": "stop:stop",
    "perf": "perf:perf",
    "doctor": "doctor:doctor",
    "demo": "demo:demo",
}
# Verbs that have verbs of their own: a file in `commands/` and its `typer.Typer`.
GROUPS: dict[str, str] = {}

app = typer.Typer(
    name="modelyard",
    help="PyTorch models, verified and served by NVIDIA Triton.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def modelyard() -> None:
    """PyTorch models, verified and served by NVIDIA Triton."""


def register_commands(names: Iterable[str] = (*VERBS, *GROUPS)) -> None:
    """Adds verbs to the command, in the order of the tables."""
    for name in names:
        module, _, attribute = (VERBS | GROUPS)[name].partition(":")
        found = getattr(import_module(f"modelyard_ops.commands.{module}"), attribute)
        if name in GROUPS:
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)


def main() -> None:
    """Runs the command line; a user's mistake ends in one message, never in a traceback."""
    try:
        asked = sys.argv[1:2]
        # Help, and the answer to a verb that there is not, name them all.
        register_commands(asked if asked and asked[0] in (*VERBS, *GROUPS) else (*VERBS, *GROUPS))
        app()
    except SystemExit as ended:
        if ended.code == EXIT_INTERRUPTED:
            _say("interrupted", "yellow")
        raise
    except KeyboardInterrupt:
        # While a verb was imported, before typer watches.
        _say("interrupted", "yellow")
        sys.exit(EXIT_INTERRUPTED)
    # Last: what it calls is run only for an exception that is none of those above.
    except _errors_for_people() as error:
        _say(f"error: {error}", "red")
        sys.exit(getattr(error, "exit_code", EXIT_FAILED))


def _errors_for_people() -> tuple[type[Exception], ...]:
    """The rooms' own errors, imported when one was raised: `except` asks for them only then."""
    from modelyard_build.errors import BuildError
    from modelyard_client.errors import ClientError
    from modelyard_ops.errors import OpsError
    from modelyard_server.errors import ServerError

    return (BuildError, ServerError, ClientError, OpsError)


def _say(text: str, style: str) -> None:
    from modelyard_ops.console import stderr

    stderr.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
