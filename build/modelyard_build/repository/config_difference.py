"""What two configs say differently, whatever their order, their form and their comments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message as Proto

from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.binding import Path
from modelyard_build.repository.text_format.edit import NAMES, is_map
from modelyard_build.repository.text_format.rendering import scalar
from modelyard_build.repository.text_format.style import DEFAULT


@dataclass(frozen=True)
class Side:
    """What one of two configs says of a field.

    Attributes:
        value: as it is written; empty where the config does not say it.
        line: where, from 1; 0 where it does not.
    """

    value: str = ""
    line: int = 0


@dataclass(frozen=True)
class Difference:
    """A field of which two configs say different things.

    Attributes:
        field: its path.
        one, other: the sides.
    """

    field: str
    one: Side
    other: Side


def differences(one: Config, other: Config) -> list[Difference]:
    """Every field whose value differs, in the order of the first config, then of the second."""
    sides = [dict(_leaves(config, config.message, "", ())) for config in (one, other)]
    found = []
    for field in dict.fromkeys([*sides[0], *sides[1]]):
        first, second = (side.get(field, Side()) for side in sides)
        if first.value != second.value:
            found.append(Difference(field, first, second))
    return found


def _leaves(config: Config, message: Any, said: str, path: Path) -> Iterator[tuple[str, Side]]:
    """The fields of a message that have values, by what people call them."""
    stated = sorted(message.ListFields(), key=lambda item: _line(config, (*path, item[0].name)))
    for described, value in stated:
        name = f"{said}.{described.name}" if said else described.name
        inner: Path = (*path, described.name)
        if is_map(described):
            for key in sorted(value):
                yield from _leaf(
                    config, described.message_type.fields_by_name["value"], value[key], f"{name}[{key}]", (*inner, key)
                )
        elif described.is_repeated and described.message_type is not None:
            for index, label in enumerate(_labels(value)):
                yield from _leaf(config, described, value[index], f"{name}[{label}]", (*inner, index))
        elif described.is_repeated:
            shown = ", ".join(scalar(described, item, DEFAULT) for item in value)
            yield name, Side(f"[ {shown} ]", _line(config, inner))
        else:
            yield from _leaf(config, described, value, name, inner)


def _leaf(config: Config, described: Any, value: Any, said: str, path: Path) -> Iterator[tuple[str, Side]]:
    if described.message_type is None:
        yield said, Side(scalar(described, value, DEFAULT), _line(config, path))
    elif value.ListFields():
        yield from _leaves(config, value, said, path)
    else:
        yield said, Side("{ }", _line(config, path))


def _labels(elements: Any) -> list[str]:
    """What tells the elements of a list apart: their names, or the index of those that have none of their own."""
    names = [_name(element) for element in elements]
    counted = Counter(names)
    return [name if name and counted[name] == 1 else str(index) for index, name in enumerate(names)]


def _name(element: Proto) -> str:
    named = (getattr(element, name) for name in NAMES if name in element.DESCRIPTOR.fields_by_name)
    return str(next((name for name in named if name), ""))


def _line(config: Config, path: Path) -> int:
    place = config.place(*path)
    if place is None:
        return 0
    return config.document.position(place.value.start if isinstance(path[-1], int) else place.field.name_start)[0]
