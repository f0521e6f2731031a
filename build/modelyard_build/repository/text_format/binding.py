"""The fields of a text, laid into a protobuf message: every value, and the place that each one came from.

The rules are those of protobuf's C++ parser, by which Triton reads; its descriptors are the only schema.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message as Proto

from modelyard_build.repository.text_format.names import fields_of, unknown_field
from modelyard_build.repository.text_format.scalars import Refused, scalar
from modelyard_build.repository.text_format.syntax import (
    Document,
    Field,
    Listing,
    Message,
    Problem,
    Value,
    clipped,
)

# Names of fields, with the index of an element or the key of a map's entry after the name of what repeats.
Path = tuple[str | int, ...]
# A text that is something else altogether has a problem at every word; nobody reads on.
_MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands.

    Attributes:
        field: the field that states it; the elements of one list share it.
        value: the value itself.
    """

    field: Field
    value: Value


@dataclass
class Bound:
    """A message, and what is known of its text.

    Attributes:
        message: what could be understood.
        places: where each stated value stands. A repeated field has the place of its first statement under its name,
            and the place of each element under the name and the index.
        problems: what the C++ parser would refuse, in the order of the text; no more than a hundred.
        lost: what the parser takes and Triton then reads as empty: strings that are not UTF-8.
    """

    message: Any
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lost: list[Problem] = field(default_factory=list)


def bind(document: Document, message: Proto) -> Bound:
    """Lays a document into a message.

    Args:
        document: what was read.
        message: an empty message, which is filled.
    """
    bound = Bound(message)
    with contextlib.suppress(_TooMany):
        _Binder(bound).fields(document.fields, message, ())
    if document.problem is not None:
        bound.problems.append(document.problem)
    bound.problems.sort(key=lambda problem: problem.start)
    return bound


class _TooMany(Exception):
    """More problems than anybody reads."""


class _Binder:
    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._places = bound.places
        # The places below each entry of a map: they go when its key is stated again.
        self._below: dict[Path, list[Path]] = {}
        self._lost: set[Path] = set()

    def fields(self, fields: list[Field], message: Any, path: Path) -> None:
        known = fields_of(message.DESCRIPTOR)
        for stated in fields:
            described = known.get(stated.name)
            if described is None:
                self._problem(unknown_field(stated.name, message.DESCRIPTOR), stated)
            elif not stated.colon and described.message_type is None:
                self._problem(f"after {stated.name!r} a ':' is missing; only messages go without", stated)
            elif described.is_repeated:
                self._repeated(stated, described, message, (*path, stated.name))
            elif (other := _other_of_oneof(message, described)) is not None:
                self._problem(f"{stated.name} stands beside {other}; only one of them may be there", stated)
            elif _is_set(message, described) or (*path, stated.name) in self._lost:
                self._problem(f"{stated.name} is stated twice, and only once is allowed; take one away", stated)
            else:
                self._singular(stated, described, message, (*path, stated.name))

    def _singular(self, stated: Field, described: FieldDescriptor, message: Any, path: Path) -> None:
        if isinstance(stated.value, Listing):
            self._problem(f"{stated.name} has one value, not a list: take the square brackets away", stated.value)
            return
        self._places[path] = Place(stated, stated.value)
        if described.message_type:
            if inner := self._message_of(stated, stated.value):
                getattr(message, stated.name).SetInParent()
                self.fields(inner.fields, getattr(message, stated.name), path)
        else:
            lost = len(self._bound.lost)
            self._assign(stated.value, described, lambda value: setattr(message, stated.name, value))
            if len(self._bound.lost) > lost:
                self._lost.add(path)

    def _repeated(self, stated: Field, described: FieldDescriptor, message: Any, path: Path) -> None:
        self._places.setdefault(path, Place(stated, stated.value))
        values = stated.value.items if isinstance(stated.value, Listing) else [stated.value]
        target = getattr(message, stated.name)
        for value in values:
            if described.message_type is None:
                place = (*path, len(target))
                if self._assign(value, described, target.append):
                    self._places[place] = Place(stated, value)
            elif inner := self._message_of(stated, value):
                if described.message_type.GetOptions().map_entry:
                    self._entry(stated, inner, described.message_type, target, path)
                else:
                    place = (*path, len(target))
                    self._places[place] = Place(stated, value)
                    self.fields(inner.fields, target.add(), place)

    def _entry(self, stated: Field, inner: Message, entry: Descriptor, target: Any, path: Path) -> None:
        """One entry of a map, written as a message of `key` and `value`; a key that comes again replaces its entry."""
        parts = self._parts_of(stated, inner, entry)
        key_part, value_part = parts.get("key"), parts.get("value")
        keys = [entry.fields_by_name["key"].default_value]
        if key_part is not None:
            self._assign(key_part.value, entry.fields_by_name["key"], keys.append)
        place: Path = (*path, keys[-1])
        for below in self._below.pop(place, ()):
            self._places.pop(below, None)
        self._places[place] = Place(stated, inner)
        of_parts: dict[Path, Place] = {(*place, name): Place(part, part.value) for name, part in parts.items()}
        self._places.update(of_parts)
        before = len(self._places)
        self._value_of(entry.fields_by_name["value"], value_part, target, place)
        added = itertools.islice(reversed(self._places), len(self._places) - before)
        self._below[place] = [*of_parts, *added]

    def _parts_of(self, stated: Field, inner: Message, entry: Descriptor) -> dict[str, Field]:
        """The key and the value of a map's entry, those that are stated well enough to be read."""
        parts: dict[str, Field] = {}
        for part in inner.fields:
            described = entry.fields_by_name.get(part.name)
            if described is None:
                self._problem(f"an entry of {stated.name} has key and value, and no {clipped(part.name)!r}", part)
            elif part.name in parts:
                self._problem(f"{part.name} is stated twice, and only once is allowed; take one away", part)
            elif isinstance(part.value, Listing):
                self._problem(f"{part.name} has one value, not a list: take the square brackets away", part.value)
            elif not part.colon and described.message_type is None:
                self._problem(f"after {part.name!r} a ':' is missing; only messages go without", part)
            else:
                parts[part.name] = part
        return parts

    def _value_of(self, described: FieldDescriptor, part: Field | None, target: Any, place: Path) -> None:
        key = place[-1]
        if described.message_type is None:
            values = [described.default_value]
            if part is not None:
                self._assign(part.value, described, values.append)
            target[key] = values[-1]
            return
        if key in target:
            del target[key]
        filled = target[key]
        if part is not None and (inner := self._message_of(part, part.value)):
            self.fields(inner.fields, filled, place)

    def _message_of(self, stated: Field, value: Value) -> Message | None:
        if isinstance(value, Message):
            return value
        self._problem(f"{stated.name} is a message: write {stated.name} {{ … }}", value)
        return None

    def _assign(self, value: Value, described: FieldDescriptor, assign: Callable[[Any], None]) -> bool:
        try:
            assign(scalar(value, described))
        except UnicodeDecodeError as error:
            said = f"{described.name} is not UTF-8 at its byte {error.start}; Triton reads an empty string"
            self._bound.lost.append(Problem(said, value.start, value.end))
            assign("")
        except Refused as refused:
            self._problem(str(refused), value)
            return False
        return True

    def _problem(self, message: str, at: Field | Value) -> None:
        end = at.name_end if isinstance(at, Field) else at.end
        start = at.name_start if isinstance(at, Field) else at.start
        self._bound.problems.append(Problem(message, start, end))
        if len(self._bound.problems) >= _MOST_PROBLEMS:
            raise _TooMany


def _is_set(message: Any, described: FieldDescriptor) -> bool:
    """Whether a field has a value already, as C++ sees it: a number or word that is the default is none."""
    if described.has_presence:
        return bool(message.HasField(described.name))
    value = getattr(message, described.name)
    return bool(value != described.default_value or (isinstance(value, float) and math.copysign(1, value) < 0))


def _other_of_oneof(message: Any, described: FieldDescriptor) -> str | None:
    """The field that is set of a group of which only one may be."""
    if described.containing_oneof is None:
        return None
    found = message.WhichOneof(described.containing_oneof.name)
    return None if found == described.name else found
