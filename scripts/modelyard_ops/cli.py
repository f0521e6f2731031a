"""The `modelyard` command: the table of verbs, and the one place where an error becomes a sentence and an exit code.

Only the verb that is asked for is imported, so that none is late for what another needs.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

EXIT_FAILED = 1
# typer ends with this on Ctrl-C, and with 2 on wrong usage.
EXIT_INTERRUPTED = 130

HELP = "PyTorch models, verified and served by NVIDIA Triton."
EPILOG = "Exit codes: 0 done; 1 what was asked for failed, the reason is on stderr; 2 wrong usage; 130 interrupted."

# Where each verb lives: a file in `commands/` and its function. A new one is a line here.
VERBS = {
    "new": "new:new",
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
    "systems": "systems:systems",
}
# Verbs that have verbs of their own; in place of a function a `typer.Typer`.
GROUPS = {"config": "config:app"}
# Verbs that hooks and editors run on every change. They take their arguments and give an exit code: typer and what it
# validates with would be half of their time.
QUICK = ("lint", "rule")


def main() -> None:
    """Runs the command line; a user's mistake ends in one message, never in a traceback."""
    try:
        verb = sys.argv[1] if len(sys.argv) > 1 else ""
        if verb in QUICK:
            # All that they read lives until they end: looking for garbage in it takes a fifth of the time.
            gc.disable()
            sys.exit(_found(verb)(sys.argv[2:]))
        known = (*VERBS, *GROUPS)
        # Help, and the answer to a verb that there is not, name them all.
        register_commands([verb] if verb in known else known)()
    except SystemExit as ended:
        if ended.code == EXIT_INTERRUPTED:
            _say("interrupted", "yellow")
        raise
    except KeyboardInterrupt:
        _say("interrupted", "yellow")
        sys.exit(EXIT_INTERRUPTED)
    # Last: what it calls is run only for an exception that is none of those above.
    except _errors_for_people() as error:
        _say(f"error: {error}", "red")
        sys.exit(getattr(error, "exit_code", EXIT_FAILED))


def register_commands(names: Iterable[str] = (*VERBS, *GROUPS)) -> typer.Typer:
    """The command with some of its verbs, in the order of the tables."""
    import typer

    app = typer.Typer(
        name="modelyard",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    # With a callback, a single verb still is a verb.
    app.callback(help=HELP)(lambda: None)
    for name in names:
        if name in GROUPS:
            app.add_typer(_found(name), name=name)
        elif name in QUICK:
            app.command(name, help=_found(name).__doc__)(lambda: None)
        else:
            app.command(name)(_found(name))
    return app


def _found(verb: str) -> Any:
    """What the tables name."""
    module, _, attribute = (VERBS | GROUPS)[verb].partition(":")
    return getattr(import_module(f"modelyard_ops.commands.{module}"), attribute)


def _errors_for_people() -> tuple[type[Exception], ...]:
    """The rooms' own errors, imported when one was raised."""
    from modelyard_build.errors import BuildError
    from modelyard_client.errors import ClientError
    from modelyard_ops.errors import OpsError
    from modelyard_server.errors import ServerError

    return (BuildError, ServerError, ClientError, OpsError)


def _say(text: str, style: str) -> None:
    from modelyard_ops.console import stderr

    stderr.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
