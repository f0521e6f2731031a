"""Random configs, and random ways to write one and the same: for property tests of the text format."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from modelyard_build.repository.model_config import ModelConfig

_STRINGS = (
    "",
    "x",
    "input_ids",
    "a b",
    'quo"te',
    "it's",
    "back\\slash",
    "#no comment",
    "ü€😀",
    "tab\tnew\nline",
    "\x00\x7f",
)
_COMMENTS = ("# why", "# {", "#", '# "quoted', "# a: 1, b", "# ünïcode")
_MOST_DEPTH = 5
_BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def random_config(chance: random.Random, density: float = 0.25) -> Any:
    """A ModelConfig with some of its fields, on every level."""
    config = ModelConfig()
    _fill(config, chance, density, 0)
    return config


def _fill(message: Any, chance: random.Random, density: float, depth: int) -> None:
    for described in message.DESCRIPTOR.fields:
        taken = described.containing_oneof and message.WhichOneof(described.containing_oneof.name)
        if taken or depth > _MOST_DEPTH or chance.random() > density:
            continue
        target = getattr(message, described.name)
        if described.is_repeated:
            for _ in range(chance.randrange(4)):
                _add(target, described, chance, density, depth)
        elif described.message_type is not None:
            target.SetInParent()
            _fill(target, chance, density * 1.2, depth + 1)
        else:
            setattr(message, described.name, _scalar(described, chance))


def _add(target: Any, described: FieldDescriptor, chance: random.Random, density: float, depth: int) -> None:
    entry = described.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key = _scalar(entry.fields_by_name["key"], chance)
        if entry.fields_by_name["value"].message_type is not None:
            _fill(target[key], chance, density * 1.5, depth + 1)
        else:
            target[key] = _scalar(entry.fields_by_name["value"], chance)
    elif entry is not None:
        _fill(target.add(), chance, density * 1.5, depth + 1)
    else:
        target.append(_scalar(described, chance))


def _scalar(described: FieldDescriptor, chance: random.Random) -> Any:
    if described.enum_type is not None:
        return chance.choice([*(value.number for value in described.enum_type.values), 99])
    if described.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return chance.choice(_STRINGS)
    if described.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if described.cpp_type in _BOUNDS:
        low, high = _BOUNDS[described.cpp_type]
        return chance.choice([low, high, max(low, -1), 0, 1, 8, chance.randrange(low, high)])
    return chance.choice([0.0, 0.5, -1.25, 1e30, 2.0**-20, math.inf, -math.inf, 3.0])


def written(config: Any, chance: random.Random) -> str:
    """A config as somebody may have written it: every form that the text format has."""
    writer = _Writer(chance)
    newline = chance.choice(["\n", "\n", "\r\n"])
    text = writer.gap() + writer.fields(config, chance.choice([0.1, 0.5, 0.95])) + writer.gap()
    return text.replace("\n", newline)


class _Writer:
    """Writes with habits: some authors are regular, some are not."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.habits = {
            name: chance.random() for name in ("angle", "colon", "list", "single", "comma", "number", "line")
        }
        self.comments = chance.choice([0.0, 0.05, 0.3])

    def _does(self, habit: str) -> bool:
        tendency = self.habits[habit]
        return self.chance.random() < (0 if tendency < 0.35 else 1 if tendency > 0.65 else 0.5)

    def gap(self) -> str:
        """White space, perhaps with a comment in it."""
        if self.chance.random() < self.comments:
            return (
                f"{self.chance.choice([' ', chr(10)])}{self.chance.choice(_COMMENTS)}\n{self.chance.choice(['', '  '])}"
            )
        return self.chance.choice([" ", " ", " ", "\n", "\t", ""]) if self.chance.random() < 0.2 else " "

    def fields(self, message: Any, lines: float, indent: str = "") -> str:
        """The fields of a message, in any order that keeps a list's."""
        parts = [
            part
            for described, value in message.ListFields()
            for part in self._statements(described, value, lines, indent)
        ]
        text = ""
        for index, part in enumerate(parts):
            mark = self.chance.choice([",", ";"]) if self._does("comma") and self.chance.random() < 0.9 else ""
            comment = self.chance.random() < self.comments
            on_line = comment or self.chance.random() < lines
            end = (f" {self.chance.choice(_COMMENTS)}\n" if comment else "\n") + indent if on_line else self._space()
            text += part + mark + (end if index < len(parts) - 1 or on_line else "")
        return text

    def _space(self) -> str:
        return self.chance.choice([" ", "  ", "\t"])

    def _statements(self, described: FieldDescriptor, value: Any, lines: float, indent: str) -> Sequence[str]:
        entry = described.message_type
        if not described.is_repeated:
            return [self._statement(described, self._value(described, value, lines, indent))]
        if entry is not None and entry.GetOptions().map_entry:
            keys = list(value)
            self.chance.shuffle(keys)
            values = [self._entry(entry, key, value[key], lines, indent) for key in keys]
        else:
            values = [self._value(described, item, lines, indent) for item in value]
        if not self._does("list"):
            return [self._statement(described, item) for item in values]
        at = self.chance.randrange(len(values) + 1)
        groups = [group for group in (values[:at], values[at:]) if group]
        return [self._statement(described, f"[{self.gap()}{self._joined(group)}{self.gap()}]") for group in groups]

    def _joined(self, values: Sequence[str]) -> str:
        text = values[0]
        for value in values[1:]:
            text += self.chance.choice([", ", ",", " ,", f",{self.gap()}", ",\n"]) + value
        return text

    def _entry(self, entry: Any, key: Any, value: Any, lines: float, indent: str) -> str:
        parts = [
            self._statement(entry.fields_by_name["key"], self._value(entry.fields_by_name["key"], key, lines, indent)),
            self._statement(
                entry.fields_by_name["value"], self._value(entry.fields_by_name["value"], value, lines, indent)
            ),
        ]
        return self._bracketed(self.chance.choice([" ", ", ", "; ", "\n"]).join(parts))

    def _statement(self, described: FieldDescriptor, value: str) -> str:
        colon = ":" if described.message_type is None or self._does("colon") else ""
        return f"{described.name}{colon}{self.gap()}{value}"

    def _bracketed(self, inner: str) -> str:
        opening, closing = "<>" if self._does("angle") else "{}"
        return f"{opening}{self.gap()}{inner}{self.gap()}{closing}"

    def _value(self, described: FieldDescriptor, value: Any, lines: float, indent: str) -> str:
        if described.message_type is not None:
            deeper = indent + self.chance.choice(["  ", "  ", "\t", "    "])
            inner = self.fields(value, lines, deeper)
            return self._bracketed(f"\n{deeper}{inner}\n{indent}" if self.chance.random() < lines else inner)
        if described.enum_type is not None:
            named = described.enum_type.values_by_number.get(value)
            return str(value) if named is None or self._does("number") else named.name
        if described.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return self._string(value)
        if described.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return self.chance.choice(["true", "True", "t", "1"] if value else ["false", "False", "f", "0"])
        return self._float(value) if isinstance(value, float) else self._integer(value)

    def _float(self, value: float) -> str:
        forms = (
            [repr(value)]
            if math.isfinite(value)
            else [f"{value}", f"{value}".upper(), "-infinity" if value < 0 else "infinity"]
        )
        if math.isfinite(value) and value == int(value) and abs(value) < 100:
            forms += [str(int(value)), f"{int(value)}f", f"{int(value)}.F"]
        return self.chance.choice(forms)

    def _integer(self, value: int) -> str:
        sign = "-" if value < 0 else ""
        return sign + self.chance.choice(
            [str(abs(value))] * 3 + [hex(abs(value)), f"0X{abs(value):X}", f"0{abs(value):o}"]
        )

    def _string(self, value: str) -> str:
        cut = self.chance.randrange(len(value) + 1) if self.chance.random() < 0.3 else 0
        pieces = [piece for piece in (value[:cut], value[cut:]) if piece] or [""]
        return self.gap().join(self._piece(piece) for piece in pieces)

    def _piece(self, text: str) -> str:
        quote = "'" if self._does("single") else '"'
        return quote + "".join(self._character(character, quote) for character in text) + quote

    def _character(self, character: str, quote: str) -> str:
        octal = "".join(f"\\{byte:03o}" for byte in character.encode())
        forms = [octal, "".join(f"\\x{byte:02x}" for byte in character.encode())]
        if character != "\\":
            # Protobuf's parser in Python reads the backslash that comes of this as the start of another escape.
            forms.append(f"\\U{ord(character):08x}")
        named = {"\n": "\\n", "\t": "\\t", "\\": "\\\\", "'": "\\'", '"': '\\"', "\x00": "\\000"}
        if character in named and character not in ("'", '"'):
            return self.chance.choice([named[character], *forms])
        plain = [named[character]] if character == quote else [character] * 8
        return self.chance.choice([*plain, *forms])
