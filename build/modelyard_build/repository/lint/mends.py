"""Edits that mend a finding: what may be made without asking."""

from __future__ import annotations

from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.splice import Edit
from modelyard_build.repository.text_format.syntax import Field


def without(config: Config, *path: str | int) -> tuple[Edit, ...]:
    """Takes a field out of a config, every statement of it, and the lines that it leaves empty.

    Args:
        config: whose text it is.
        path: of the field; a repeated one without an index is taken out as a whole.
    """
    places = config.bound.places
    found: dict[int, Field] = {}
    if path in places:
        found[places[path].field.name_start] = places[path].field
    for index in range(len(places)):
        place = places.get((*path, index))
        if place is None:
            break
        found[place.field.name_start] = place.field
    return tuple(_removal(config.text, field) for _, field in sorted(found.items()))


def _removal(text: str, field: Field) -> Edit:
    """With its whole line where nothing else stands on it, else with the white space before it."""
    start, end = field.name_start, field.end
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    before, after = text[line_start:start], text[end:line_end]
    if not before.strip() and not after.strip():
        return Edit(line_start, min(line_end + 1, len(text)), "")
    return Edit(start - (len(before) - len(before.rstrip(" \t"))), end, "")
