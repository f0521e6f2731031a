"""The errors of this package, drawn as a tree.

ServerError
"""

from __future__ import annotations


class ServerError(Exception):
    """The base of all of them. The message says what, got, expected and the next step."""
