"""Protobuf's wire format, walked without a schema: what is not asked for is stepped over, never read.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

from modelyard_build.repository.lint.artefacts.artefact import Unreadable
from modelyard_build.repository.lint.artefacts.window import Window

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)

# A field: its number, its wire type, and the value, which is a number or the start and the end of the bytes.
Field = tuple[int, int, int, int]
Source = bytes | Window

# A message of this size is taken into memory as a whole: much faster than field by field.
_WHOLE = 64 << 10
# What is looked at of one file, weights apart; the graphs of the largest models have a third of it.
_MOST_BYTES = 64 << 20
_LONGEST_VARINT = 10


class Message:
    """A message within a file.

    Attributes:
        budget: how much more of the file may be looked at; one for all messages of a file.
    """

    __slots__ = ("_end", "_source", "_start", "budget")

    def __init__(self, source: Source, start: int, end: int, budget: list[int] | None = None) -> None:
        self._source, self._start, self._end = source, start, end
        self.budget = [_MOST_BYTES] if budget is None else budget

    def inner(self, start: int, end: int) -> Message:
        """A field's bytes as a message.

        Raises:
            Unreadable: too much of the file was looked at.
        """
        if isinstance(self._source, bytes) or end - start > _WHOLE:
            return Message(self._source, start, end, self.budget)
        self._spend(end - start)
        data, offset = self._source.at(start, end - start)
        return Message(data, offset, offset + end - start, self.budget)

    def text(self, start: int, end: int, longest: int = 4096) -> str:
        """A field's bytes as text."""
        end = min(end, start + longest)
        data = self._source[start:end] if isinstance(self._source, bytes) else self._source.bytes(start, end)
        return data.decode("utf-8", "replace")

    def raw(self) -> bytes:
        """All of it."""
        if isinstance(self._source, bytes):
            return self._source[self._start : self._end]
        return self._source.bytes(self._start, self._end)

    def fields(self) -> Iterator[Field]:
        """Its fields, one after the other.

        Raises:
            Unreadable: it is no protobuf message, or too long to be looked at.
        """
        if isinstance(self._source, bytes):
            return _fields(self._source, self._start, self._end)
        return self._fields_of_file(self._source)

    def _fields_of_file(self, file: Window) -> Iterator[Field]:
        position, end = self._start, self._end
        while position < end:
            self._spend(2)
            head = min(2 * _LONGEST_VARINT, end - position)
            data, offset = file.at(position, head)
            # What is before the value lies in memory; the bytes themselves may lie outside.
            number, wire, value, stop = next(_fields(data, offset, offset + end - position, offset + head))
            yield number, wire, value + position - offset if wire == BYTES else value, stop + position - offset
            position += stop - offset

    def _spend(self, size: int) -> None:
        self.budget[0] -= size
        if self.budget[0] < 0:
            raise Unreadable(f"has more than {_MOST_BYTES >> 20} MiB without its weights")


def _fields(data: bytes, position: int, end: int, known: int | None = None) -> Iterator[Field]:
    """The fields of a message in memory.

    Args:
        data: where it lies.
        position: its start.
        end: its end, which may be beyond the data.
        known: the end of the data that may be looked at; None: all of it.
    """
    limit = end if known is None else known
    while position < end:
        tag = data[position]
        position += 1
        if tag >= 0x80:
            tag, position = _varint(data, position - 1, limit)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise Unreadable("is not a protobuf message", broken=True)
        if wire in (BYTES, VARINT):
            if position >= limit:
                raise _cut_off()
            value = data[position]
            position += 1
            if value >= 0x80:
                value, position = _varint(data, position - 1, limit)
            if wire == VARINT:
                yield number, wire, value, position
                continue
            stop = position + value
            if stop > end:
                raise _cut_off()
            yield number, wire, position, stop
            position = stop
        elif wire in (FIXED64, FIXED32):
            position += 8 if wire == FIXED64 else 4
            if position > end:
                raise _cut_off()
            yield number, wire, 0, position
        elif wire == GROUP:
            raise Unreadable("has groups, which no ONNX file has")
        else:
            raise Unreadable("is not a protobuf message", broken=True)


def _varint(data: bytes, position: int, limit: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _LONGEST_VARINT, 7):
        if position >= limit:
            raise _cut_off()
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, position
    raise Unreadable("is not a protobuf message", broken=True)


def _cut_off() -> Unreadable:
    return Unreadable("ends in the middle", broken=True)


def signed(value: int) -> int:
    """A varint as an int64."""
    return value - (1 << 64) if value >= 1 << 63 else value
