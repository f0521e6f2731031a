"""Pieces of a text replaced by others, all at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """A piece of a text replaced by another.

    Attributes:
        start, end: the place of what is replaced, in characters.
        text: what comes in its place.
    """

    start: int
    end: int
    text: str


def splice(text: str, edits: Iterable[Edit]) -> str:
    """The text with all the edits made; their places are those in `text`.

    Raises:
        ValueError: two of them overlap, or one lies outside of the text.
    """
    parts = []
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if not at <= edit.start <= edit.end <= len(text):
            raise ValueError(f"the edit of {edit.start} to {edit.end} overlaps another or lies outside of the text")
        parts += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*parts, text[at:]])
