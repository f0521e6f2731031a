"""The operator commands' own errors."""

from __future__ import annotations


class OpsError(Exception):
    """What an operator asked for cannot be done; the message says what, got, expected and the next step.

    Attributes:
        exit_code: what the command ends with.
    """

    exit_code = 1


class CannotRun(OpsError):
    """The command could not begin: a path is missing, an option or a setting is wrong."""

    exit_code = 2
