"""Edits of a text that leave everything else as its author wrote it.

A value is replaced where it stands. What is added is written as what stands beside it; what is removed takes along its
separator, its line where it has one alone, and the comment that trails it there. No other byte changes.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message as Proto

from modelyard_build.repository.text_format import placing, rendering
from modelyard_build.repository.text_format.binding import Path, Place, bind
from modelyard_build.repository.text_format.rendering import Render
from modelyard_build.repository.text_format.splice import Edit, splice
from modelyard_build.repository.text_format.style import Style, style_of
from modelyard_build.repository.text_format.syntax import Field, Listing, Message, Scalar, parse

# What tells the elements of a repeated field apart, where its message has one of these.
NAMES = ("name", "model_name")


@dataclass(frozen=True)
class Meant:
    """What a path leads to.

    Attributes:
        field: the field that it names last.
        value: what the value there is: of a map's entry the value part, else the field itself.
        is_whole: whether it is a repeated field or a map as a whole.
        is_entry: whether it is an entry of a map.
    """

    field: FieldDescriptor
    value: FieldDescriptor
    is_whole: bool = False
    is_entry: bool = False


def meant(root: Descriptor, path: Path) -> Meant:
    """What a path leads to, in a message of a descriptor.

    Raises:
        LookupError: there is no such field, or the path goes into a scalar.
    """
    found = _child(root, path[0])
    for step in path[1:]:
        if not found.is_whole:
            found = _child(found.value.message_type, step)
        elif is_map(found.field):
            found = Meant(found.field, entry_part(found.field, "value"), is_entry=True)
        else:
            found = Meant(found.field, found.field)
    return found


def _child(descriptor: Descriptor | None, step: str | int) -> Meant:
    described = None if descriptor is None or isinstance(step, int) else descriptor.fields_by_name.get(step)
    if described is None:
        raise LookupError(f"{descriptor.name if descriptor else 'a value'} has no field {step!r}")
    return Meant(described, described, is_whole=described.is_repeated)


def is_map(described: FieldDescriptor) -> bool:
    """Whether a field is a map."""
    return bool(described.message_type is not None and described.message_type.GetOptions().map_entry)


def entry_part(described: FieldDescriptor, name: str) -> FieldDescriptor:
    """The `key` or the `value` of a map's entries."""
    assert described.message_type is not None  # noqa: S101  # a map is one
    return described.message_type.fields_by_name[name]


class Editor:
    """A text and the message that it states, edited together.

    Attributes:
        text: with all edits so far.
        message: what it says; not to be changed but through the editor.
        places: where each value stands, see `binding.Bound`.
    """

    def __init__(self, text: str, message: type[Proto]) -> None:
        """Reads a text.

        Args:
            text: what is edited.
            message: the class of what it states.

        Raises:
            ValueError: it cannot be read; line, column and why.
        """
        self._class = message
        self._read(text)

    def _read(self, text: str) -> None:
        document = parse(text)
        bound = bind(document, self._class())
        if bound.problems:
            line, column = document.position(bound.problems[0].start)
            raise ValueError(f"{line}:{column}: {bound.problems[0].message}")
        self.text = text
        self.message: Any = bound.message
        self._document = document
        self.places = bound.places

    def assign(self, path: Path, value: Any) -> None:
        """States a value, in place of the one that stands there or newly; what is missing around it is made.

        Args:
            path: of a field, an element or an entry of a map. The index after the last one appends.
            value: of the field's type: an enum's is a number, a repeated field's a sequence, a map's a mapping. Of a
                oneof it takes the place of the other members.

        Raises:
            LookupError: the message has no such field, or the index is beyond the end.
        """
        what = self._meant(path)
        self._make_room(path)
        if what.is_whole:
            self._assign_all(path, what, value)
            return
        place = self._place(path)
        if place is None:
            self._add(path, rendering.value(what.value, value, self._style(path)))
        elif what.value.message_type is not None:
            self.conform(value, path)
        else:
            assert isinstance(place.value, Scalar)  # noqa: S101  # the text was bound without problems
            shown = rendering.scalar(what.value, value, self._style(path), place.value)
            self._splice([Edit(place.value.start, place.value.end, shown)])

    def _make_room(self, path: Path) -> None:
        """Takes out what cannot stand beside what a path names: the other members of a oneof."""
        for depth, step in enumerate(path):
            if not self._is_there(path[:depth]) or not isinstance(parent := self.at(path[:depth]), Proto):
                continue
            oneof = parent.DESCRIPTOR.fields_by_name[str(step)].containing_oneof
            other = parent.WhichOneof(oneof.name) if oneof is not None else None
            if other not in (None, step):
                self.remove((*path[:depth], other))

    def insert(self, path: Path, index: int, value: Any) -> None:
        """Puts an element into a repeated field, before the one that has the index; at the end where none has.

        Raises:
            LookupError: the message has no such field.
        """
        self._insert(path, index, rendering.value(self._meant(path).value, value, self._style(path)))

    def remove(self, path: Path) -> None:
        """Takes a field, an element or an entry of a map out; nothing happens where it is not stated."""
        what = self._meant(path)
        if isinstance(path[-1], str) and not what.is_entry:
            while stated := [field for field in self._fields(path[:-1]) if field.name == path[-1]]:
                self._remove_field(path[:-1], stated[-1])
            return
        while path in self.places:
            self._remove_element(path)
            # The next element has the index now; of a map's entry an earlier statement may come to light.
            if not what.is_entry:
                return

    def conform(self, target: Any, path: Path = ()) -> None:
        """Makes the message at a path equal to another, with as few edits as that takes.

        Args:
            target: what it shall be.
            path: of a message that is stated; the whole text's, where it is left out.
        """
        for described in target.DESCRIPTOR.fields:
            if _has(self.at(path), described) and not _has(target, described):
                self.remove((*path, described.name))
        for described in target.DESCRIPTOR.fields:
            if _has(target, described):
                value = getattr(target, described.name)
                current = self.at(path)
                if not _has(current, described) or not _same(getattr(current, described.name), value):
                    self.assign((*path, described.name), value)

    def _assign_all(self, path: Path, what: Meant, value: Any) -> None:
        if is_map(what.field):
            self._assign_entries(path, value)
        elif not value:
            self.remove(path)
        else:
            self._assign_elements(path, value)

    def _assign_entries(self, path: Path, value: Any) -> None:
        current = self.at(path) if self._is_there(path[:-1]) else {}
        gone = sorted((key for key in current if key not in value), key=lambda key: self._start(path, key))
        come = sorted(key for key in value if key not in current)
        if len(gone) == len(come):
            for old, new in zip(gone, come, strict=True):
                self._rename(path, old, new)
        for key in gone:
            self.remove((*path, key))
        current = self.at(path) if self._is_there(path[:-1]) else {}
        for key in sorted(value):
            if key not in current or not _same(current[key], value[key]):
                self.assign((*path, key), value[key])

    def _start(self, path: Path, key: str | int) -> int:
        entry: Path = (*path, key)
        return self.places[entry].value.start

    def _rename(self, path: Path, old: str | int, new: str | int) -> None:
        """Gives an entry of a map another key, where it states one."""
        place = self.places.get((*path, old, "key"))
        if place is not None:
            assert isinstance(place.value, Scalar)  # noqa: S101  # the text was bound without problems
            key = entry_part(self._meant(path).field, "key")
            shown = rendering.scalar(key, new, self._style(path), place.value)
            self._splice([Edit(place.value.start, place.value.end, shown)])

    def _assign_elements(self, path: Path, value: Sequence[Any]) -> None:
        current = self.at(path) if self._is_there(path[:-1]) else []
        old, new = [_identity(item) for item in current], [_identity(item) for item in value]
        blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        # From the end, so that the indices before it stay what they are.
        for _, first, last, new_first, new_last in reversed(blocks):
            both = min(last - first, new_last - new_first)
            for index in reversed(range(first + both, last)):
                self.remove((*path, index))
            for offset in range(both, new_last - new_first):
                self.insert(path, first + offset, value[new_first + offset])
            for offset in range(both):
                if not _same(self.at(path)[first + offset], value[new_first + offset]):
                    self.assign((*path, first + offset), value[new_first + offset])

    def _meant(self, path: Path) -> Meant:
        return meant(self.message.DESCRIPTOR, path)

    def at(self, path: Path) -> Any:
        """The value at a path.

        Raises:
            LookupError: there is none.
        """
        found = self.message
        for step in path:
            found = getattr(found, step) if isinstance(found, Proto) and isinstance(step, str) else found[step]
        return found

    def _place(self, path: Path) -> Place | None:
        """Where the value at a path stands."""
        return self.places.get((*path, "value") if self._meant(path).is_entry else path)

    def _is_there(self, path: Path) -> bool:
        """Whether a message is stated; that of the whole text is."""
        return not path or self._place(path) is not None

    def _inside(self, path: Path) -> Message | None:
        """The message at a path that is there; None for the whole text."""
        place = self._place(path) if path else None
        if place is None:
            return None
        assert isinstance(place.value, Message)  # noqa: S101  # the text was bound without problems
        return place.value

    def _fields(self, path: Path) -> Sequence[Field]:
        if not self._is_there(path):
            return []
        inside = self._inside(path)
        return self._document.fields if inside is None else inside.fields

    def _style(self, path: Path) -> Style:
        """That of what stands nearest to a path."""
        near: Iterable[Place] = []
        while path and not near:
            near = [place for known, place in self.places.items() if known[: len(path)] == path]
            path = path[:-1]
        return style_of(self._document, [place.field for place in near])

    def _splice(self, edits: Sequence[Edit]) -> None:
        self._read(splice(self.text, edits))

    def _add(self, path: Path, inner: Render) -> None:
        """States what is at a path and was not, with the messages around it that are not there either."""
        what = self._meant(path)
        style = self._style(path)
        if what.is_entry:
            entry = self.places.get(path)
            if entry is None:
                self._insert(path[:-1], None, rendering.entry(what.field, path[-1], inner, style))
            else:
                assert isinstance(entry.value, Message)  # noqa: S101  # the text was bound without problems
                self._append(entry.value, rendering.statement(what.value, inner, style), style)
        elif isinstance(path[-1], int):
            count = len(self.at(path[:-1])) if self._is_there(path[:-2]) else 0
            if path[-1] != count:
                raise LookupError(f"{what.field.name} has {count} elements, so [{path[-1]}] is beyond its end")
            self._insert(path[:-1], count, inner)
        else:
            self._add_statement(path[:-1], rendering.statement(what.field, inner, style), style)

    def _add_statement(self, path: Path, statement: Render, style: Style) -> None:
        """Adds a field to the message at a path, which is made where it is not there."""
        if self._is_there(path):
            self._append(self._inside(path), statement, style)
        else:
            self._add(path, rendering.in_brackets([statement], style))

    def _append(self, inside: Message | None, statement: Render, style: Style) -> None:
        box = placing.box_of(self._document, inside)
        self._splice(placing.insertion(self.text, box, len(box.pieces), statement, style, False))

    def _insert(self, path: Path, index: int | None, inner: Render) -> None:
        """Puts an element in before the one that has the index; an entry of a map, of no index, behind the others."""
        what = self._meant(path)
        style = self._style(path)
        beside, after = self._neighbour(path, index)
        stated = beside or self.places.get(path)
        if stated is None:
            alone = inner if what.field.message_type is not None else rendering.listing([inner("", True)], style)
            self._add_statement(path[:-1], rendering.statement(what.field, alone, style), style)
            return
        one_line = beside is not None and "\n" not in self.text[beside.value.start : beside.value.end]
        if isinstance(stated.field.value, Listing):
            box = placing.box_of(self._document, stated.field.value)
            at = 0 if beside is None else _index(stated.field.value.items, beside.value) + after
        else:
            box = placing.box_of(self._document, self._inside(path[:-1]))
            at = _index(self._fields(path[:-1]), stated.field) + after
            inner = rendering.statement(what.field, inner, style)
        self._splice(placing.insertion(self.text, box, at, inner, style, one_line))

    def _neighbour(self, path: Path, index: int | None) -> tuple[Place | None, int]:
        """The element beside which a new one goes, and whether (1) it goes behind it."""
        if index is None:
            entries = [place for known, place in self.places.items() if known[:-1] == path]
            return max(entries, key=lambda place: place.value.start, default=None), 1
        count = len(self.at(path)) if self._is_there(path[:-1]) else 0
        if not count:
            return None, 0
        beside: Path = (*path, max(min(index, count) - 1, 0))
        return self.places[beside], 1 if index else 0

    def _remove_element(self, path: Path) -> None:
        place = self.places[path]
        listed = place.field.value
        if isinstance(listed, Listing) and len(listed.items) > 1:
            box = placing.box_of(self._document, listed)
            self._splice(placing.removal(self.text, box, _index(listed.items, place.value)))
        else:
            self._remove_field(path[:-2], place.field)

    def _remove_field(self, path: Path, field: Field) -> None:
        box = placing.box_of(self._document, self._inside(path))
        self._splice(placing.removal(self.text, box, _index(self._fields(path), field)))


def _index(things: Sequence[object], wanted: object) -> int:
    return next(index for index, thing in enumerate(things) if thing is wanted)


def _has(message: Any, described: FieldDescriptor) -> bool:
    """Whether a message has a field: more than its default, or stated where that can be told."""
    if described.is_repeated:
        return bool(getattr(message, described.name))
    if described.has_presence:
        return bool(message.HasField(described.name))
    value = getattr(message, described.name)
    return bool(value != described.default_value or (isinstance(value, float) and math.copysign(1, value) < 0))


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal; what is no number is, to itself."""
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return bool(both_nan or one == other)


def _identity(item: Any) -> Hashable:
    """What an element is recognised by: its name where it has one, else all of it."""
    if not isinstance(item, Proto):
        found: Hashable = item
        return found
    named = (getattr(item, name) for name in NAMES if name in item.DESCRIPTOR.fields_by_name)
    return next((name for name in named if name), None) or item.SerializeToString(deterministic=True)
