"""What people write to name a field and a value: `input[input_ids].dims=[ -1, 8 ]`.

A path is the names of fields with dots between them. In square brackets stands which element of a repeated field is
meant, by its index or its name, or which entry of a map, by its key; quotes around either may be left out. The index
after the last element means a new one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message as Proto
from google.protobuf.message_factory import GetMessageClass

from modelyard_build.repository.text_format.binding import Path, bind
from modelyard_build.repository.text_format.edit import NAMES, entry_part, is_map, meant
from modelyard_build.repository.text_format.names import unknown_field
from modelyard_build.repository.text_format.strings import quoted
from modelyard_build.repository.text_format.syntax import parse

_STEP = re.compile(
    r"""(?P<dot>\.)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |\[\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\]'"]*?))\s*\]""",
    re.VERBOSE,
)
_WHOLE = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Step:
    """A part of a path.

    Attributes:
        text: a field's name, or what stands in the brackets.
        is_key: whether it stood in brackets.
        is_quoted: whether it stood in quotes there: then it is no index.
    """

    text: str
    is_key: bool = False
    is_quoted: bool = False


def split(text: str) -> tuple[list[Step], str]:
    """The steps that a text begins with, and the rest of it.

    Raises:
        LookupError: it does not begin with a field's name.
    """
    steps: list[Step] = []
    at = 0
    while match := _STEP.match(text, at):
        name = match["name"]
        if name is not None and bool(steps) is (match["dot"] is None):
            break
        if name is not None:
            steps.append(Step(name))
        elif steps:
            found = next(group for group in (match["double"], match["single"], match["bare"]) if group is not None)
            steps.append(Step(found, True, match["bare"] is None))
        else:
            break
        at = match.end()
    if not steps:
        raise LookupError(f"a field's name is expected at the start of {text!r}")
    return steps, text[at:]


def resolve(steps: Sequence[Step], message: Proto) -> Path:
    """Where steps lead in a message.

    Raises:
        LookupError: nowhere; with what there is.
    """
    path: list[str | int] = []
    root: Any = message.DESCRIPTOR
    descriptor = root
    whole: FieldDescriptor | None = None
    current: Any = message
    for step in steps:
        said = shown(root, tuple(path)) if path else "a config"
        if whole is not None:
            if not step.is_key:
                raise LookupError(f"{said} is {_several(whole)}; write {said}[{_example(whole, current)}].{step.text}")
            key, current = _element(whole, current, step, said)
            path.append(key)
            descriptor = (entry_part(whole, "value") if is_map(whole) else whole).message_type
            whole = None
        elif step.is_key or descriptor is None:
            what = "has one value" if step.is_key else "has no fields"
            raise LookupError(f"{said} {what}, so nothing can stand behind it; take {step.text!r} away")
        else:
            described = descriptor.fields_by_name.get(step.text)
            if described is None:
                raise LookupError(unknown_field(step.text, descriptor))
            path.append(step.text)
            current = getattr(current, step.text) if current is not None else None
            whole = described if described.is_repeated else None
            descriptor = described.message_type
    return tuple(path)


def _several(whole: FieldDescriptor) -> str:
    return "a map" if is_map(whole) else "a list"


def _example(whole: FieldDescriptor, current: Any) -> str:
    if is_map(whole):
        return next(iter(map(str, current or ())), "KEY")
    named = _named(whole, current)
    return next((name for name in named if name), "0")


def _named(whole: FieldDescriptor, current: Any) -> list[str]:
    """The names of a list's elements; empty ones where they have none."""
    if whole.message_type is None:
        return []
    field = next((name for name in NAMES if name in whole.message_type.fields_by_name), None)
    return [getattr(element, field) for element in current or ()] if field else []


def _element(whole: FieldDescriptor, current: Any, step: Step, said: str) -> tuple[str | int, Any]:
    """An element's index or an entry's key, and what is there now."""
    if is_map(whole):
        key = _key(entry_part(whole, "key"), step.text, said)
        return key, current[key] if current is not None and key in current else None
    named = _named(whole, current)
    if step.text in named and (step.is_quoted or not _WHOLE.fullmatch(step.text)):
        index = named.index(step.text)
    elif _WHOLE.fullmatch(step.text) and not step.is_quoted:
        index = int(step.text)
    else:
        there = ", ".join(filter(None, named)) or "no element with a name"
        raise LookupError(f"{said} has no element {step.text!r}; it has {there}")
    return index, current[index] if current is not None and index < len(current) else None


def _key(described: FieldDescriptor, text: str, said: str) -> str | int:
    if described.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return text
    if not _WHOLE.fullmatch(text):
        raise LookupError(f"the keys of {said} are whole numbers, not {text!r}")
    return int(text)


def shown(root: Descriptor, path: Path) -> str:
    """A path as people write it; it leads through fields of a message of a descriptor."""
    text = ""
    for index, step in enumerate(path):
        if isinstance(step, int) or (index and meant(root, path[: index + 1]).is_entry):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def value_of(root: Descriptor, path: Path, text: str) -> Any:
    """A value that is written for a path, in text format; the quotes of a string and the brackets of a list may lack.

    Raises:
        LookupError: the path leads nowhere.
        ValueError: the value does not fit the field.
    """
    what = meant(root, path)
    described = what.field if what.is_whole else what.value
    written = text.strip()
    is_string = described.cpp_type == FieldDescriptor.CPPTYPE_STRING
    if what.is_whole:
        written = written if written.startswith("[") or is_map(described) else f"[{written}]"
    elif is_string and not written.startswith(('"', "'")):
        written = quoted(text)
    if described.is_repeated and not what.is_whole:
        written = f"[{written}]"
    assert described.containing_type is not None  # noqa: S101  # every field of a message has one
    found = bind(document := parse(f"{described.name}: {written}"), GetMessageClass(described.containing_type)())
    if found.problems or found.lost:
        raise ValueError([*found.problems, *found.lost][0].message)
    if len(document.fields) != 1:
        raise ValueError(f"{document.fields[1].name!r} stands behind the value; give one value to a path")
    value = getattr(found.message, described.name)
    if not described.is_repeated or what.is_whole:
        return value
    if len(value) != 1:
        raise ValueError(f"one value is expected, not {len(value)}")
    return value[0]


def into_only_field(root: Descriptor, path: Path) -> Path:
    """A path that leads into the one field of a message that has no other, such as a parameter's `string_value`."""
    value = meant(root, path)
    inner = None if value.is_whole else value.value.message_type
    if (
        inner is None
        or len(inner.fields) != 1
        or inner.fields[0].message_type is not None
        or inner.fields[0].is_repeated
    ):
        return path
    return (*path, inner.fields[0].name)
