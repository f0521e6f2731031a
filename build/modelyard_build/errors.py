"""The errors of this package, drawn as a tree.

BuildError
"""

from __future__ import annotations


class BuildError(Exception):
    """The base of all of them. The message says what, got, expected and the next step."""
