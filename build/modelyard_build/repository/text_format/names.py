"""Names of fields: those that a message has, and what may be meant by one that it has not."""

from __future__ import annotations

import difflib
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from modelyard_build.repository.text_format.syntax import clipped

_LONGEST_NAME = 64


@cache
def fields_of(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """The fields of a message by name."""
    return dict(descriptor.fields_by_name)


def unknown_field(name: str, descriptor: Descriptor) -> str:
    """What is wrong with a name that a message does not have: with the one that may be meant, or where it belongs."""
    known = list(fields_of(descriptor))
    where = "a config" if descriptor.name == "ModelConfig" else descriptor.name
    message = f"{where} has no field {clipped(name)!r}."
    # The name itself elsewhere is nearer than another name here.
    if elsewhere := _homes(descriptor.file.message_types_by_name["ModelConfig"]).get(name):
        return f"{message} It belongs in {' or '.join(elsewhere[:2])}"
    if close := nearest(name, known):
        return message + close
    return f"{message} It has {', '.join(known[:12])}{', …' if len(known) > 12 else ''}"


def nearest(name: str, names: list[str]) -> str:
    """The nearest of some names in the words of a message; empty where none is near."""
    if len(name) > _LONGEST_NAME:
        return ""
    found = difflib.get_close_matches(name, names, 1, 0.6)
    if not found and (upper := difflib.get_close_matches(f"TYPE_{name.upper()}", names, 1, 0.8)):
        found = upper
    return f" Did you mean {found[0]}?" if found else ""


@cache
def _homes(root: Descriptor) -> dict[str, list[str]]:
    """The paths of the messages that have a field, by the field's name."""
    found: dict[str, list[str]] = {}
    waiting = [(root, "the config itself")]
    seen = set()
    while waiting:
        descriptor, path = waiting.pop(0)
        if descriptor.full_name in seen:
            continue
        seen.add(descriptor.full_name)
        for name, described in descriptor.fields_by_name.items():
            found.setdefault(name, []).append(path)
            if described.message_type is not None:
                waiting.append((described.message_type, name if descriptor is root else f"{path}.{name}"))
    return found
