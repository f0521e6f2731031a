"""Tritonserver's command line, as far as rules ask for it."""

from __future__ import annotations

from collections.abc import Sequence


def option(arguments: Sequence[str], name: str) -> str | None:
    """The last value of `--name=value` or `--name value`; empty for a bare flag, None where it is not stated."""
    found = None
    for index, argument in enumerate(arguments):
        if argument == f"--{name}":
            following = arguments[index + 1] if index + 1 < len(arguments) else ""
            found = "" if following.startswith("--") else following
        elif argument.startswith(f"--{name}="):
            found = argument.partition("=")[2]
    return found


def options(arguments: Sequence[str], name: str) -> list[str]:
    """Every value of an option that may stand several times."""
    starts = [index for index, argument in enumerate(arguments) if argument.partition("=")[0] == f"--{name}"]
    return [option(arguments[start : start + 2], name) or "" for start in starts]
