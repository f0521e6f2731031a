"""The operator commands' own errors."""

from __future__ import annotations


class OpsError(Exception):
    """What an operator asked for cannot be done; the message says what, got, expected and the next step."""
