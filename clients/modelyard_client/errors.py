"""The errors of this package, drawn as a tree.

ClientError
"""

from __future__ import annotations


class ClientError(Exception):
    """The base of all of them. The message says what, got, expected and the next step."""
