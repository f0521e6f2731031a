"""Changes of a config's fields and of its text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st

from modelyard_build.repository.model_config import ModelConfig
from modelyard_build.repository.text_format.syntax import Field, Listing, Message, Scalar, Value, parse
from support.mutations.mutant import Mutant

NUMBERS = (
    *(str(number) for number in (-(1 << 31), -4, -2, -1, 0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 33, 64, 100, 1000)),
    *(str(1 << shift) for shift in (31, 32, 40, 62, 63, 64)),
    *("-0", "1.0", "2.5", "0x10", "010", "08", "1e3", "1f", "inf", "'4'", "nan", "- 3", "--1", "+1", "1u"),
)
WORDS = (
    *("", "x", "y", "m", "nope", "two words", "\u00e9", "../m", "a" * 300),
    *("0", "1", "-1", "true", "cpu", "model.onnx"),
)
LITERALS = ("true", "True", "TRUE", "t", "false", "f", "0", "1", "2", '"true"', "yes")
BYTES = (
    *('"', "'", "{", "}", "[", "]", "<", ">", ":", ",", ";", "#", "\\", "-", "+", ".", "/", "_", "\n", "\t", " "),
    *("\0", "\x01", "\x0b", "\r", "\x7f", "\u00e9", "\udcff", "\udcc3", "\u2028", "\ufeff"),
    *("0", "9", "a", "e", "x", "X", "f"),
)


@dataclass(frozen=True)
class Spot:
    """A field of a text, with what its message may have.

    Attributes:
        stated: the field.
        owner: the message that it stands in.
        described: its description; None: that message has none of this name.
    """

    stated: Field
    owner: Descriptor
    described: FieldDescriptor | None


def spots(text: str) -> list[Spot]:
    """Every field of a text, the outer ones first."""
    return list(_spots(parse(text).fields, ModelConfig.DESCRIPTOR))


def _spots(fields: Sequence[Field], owner: Descriptor) -> Iterator[Spot]:
    for stated in fields:
        described = owner.fields_by_name.get(stated.name)
        yield Spot(stated, owner, described)
        if described is not None and described.message_type is not None:
            for message in _messages(stated.value):
                yield from _spots(message.fields, described.message_type)


def _messages(value: Value) -> list[Message]:
    items = value.items if isinstance(value, Listing) else [value]
    return [item for item in items if isinstance(item, Message)]


def _cut(text: str, start: int, end: int, new: str = "") -> str:
    return text[:start] + new + text[end:]


def _whole(text: str, spot: Spot) -> str:
    return text[spot.stated.name_start : spot.stated.end]


@st.composite
def removed(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """Without one field."""
    spot = draw(st.sampled_from(spots(mutant.text)))
    return mutant.with_text(_cut(mutant.text, spot.stated.name_start, spot.stated.end), f"without {spot.stated.name}")


@st.composite
def doubled(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """With one field twice."""
    text, spot = mutant.text, draw(st.sampled_from(spots(mutant.text)))
    return mutant.with_text(
        _cut(text, spot.stated.end, spot.stated.end, f" {_whole(text, spot)} "), f"{spot.stated.name} twice"
    )


@st.composite
def misspelt(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """With a name misspelt, or another name of the same message."""
    text, spot = mutant.text, draw(st.sampled_from(spots(mutant.text)))
    name, at = spot.stated.name, draw(st.integers(0, max(0, len(spot.stated.name) - 1)))
    wrong = [name[:at] + name[at + 1 :], name[: at + 1] + name[at:], name.upper(), name.replace("_", ""), f"{name}s"]
    new = draw(st.one_of(st.sampled_from(wrong), st.sampled_from([each.name for each in spot.owner.fields])))
    return mutant.with_text(_cut(text, spot.stated.name_start, spot.stated.name_end, new), f"{name} is called {new}")


@st.composite
def revalued(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """With another value."""
    text = mutant.text
    holders = [spot for spot in spots(text) if spot.described is not None and spot.described.message_type is None]
    spot = draw(st.sampled_from(holders or spots(text)))
    if spot.described is None:
        return mutant
    value = spot.stated.value
    if isinstance(value, Listing) and value.items and draw(st.booleans()):
        value = draw(st.sampled_from(value.items))
    new = draw(values(spot.described, text, 0))
    return mutant.with_text(_cut(text, value.start, value.end, new), f"{spot.stated.name} is {new[:60]}")


@st.composite
def inserted(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """With one more field, of those that the config or one of its messages may have."""
    text = mutant.text
    inner = [spot for spot in spots(text) if _may_have_fields(spot) and _messages(spot.stated.value)]
    spot = draw(st.sampled_from([None, None, *inner]))
    if spot is None or spot.described is None:
        owner, at = ModelConfig.DESCRIPTOR, len(text)
    else:
        owner = spot.described.message_type
        at = draw(st.sampled_from(_messages(spot.stated.value))).end - 1
    described = draw(st.sampled_from(list(owner.fields)))
    new = f"{described.name}: {draw(values(described, text, 3))}"
    return mutant.with_text(_cut(text, at, at, f" {new} "), f"plus {new[:200]}")


def _may_have_fields(spot: Spot) -> bool:
    owner = spot.described.message_type if spot.described is not None else None
    return owner is not None and len(owner.fields) > 0


@st.composite
def moved(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """With one field in another message, or in none."""
    text, spot = mutant.text, draw(st.sampled_from(spots(mutant.text)))
    targets = [message for each in spots(text) for message in _messages(each.stated.value)]
    outside = [each.end - 1 for each in targets if not spot.stated.name_start <= each.start < spot.stated.end]
    at = draw(st.sampled_from([*outside, len(text)]))
    whole, start, end = f" {_whole(text, spot)} ", spot.stated.name_start, spot.stated.end
    new = _cut(_cut(text, at, at, whole), start, end) if at > end else _cut(_cut(text, start, end), at, at, whole)
    return mutant.with_text(new, f"{spot.stated.name} elsewhere")


@st.composite
def swapped(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """With the value of another field of the same type: a step wired to another tensor, an input's dtype, a name."""
    text = mutant.text
    holders = [spot for spot in spots(text) if isinstance(spot.stated.value, Scalar | Listing)]
    if not holders:
        return mutant
    spot = draw(st.sampled_from(holders))
    alike = [other for other in holders if _kind(other) == _kind(spot) and other.stated is not spot.stated]
    other = draw(st.sampled_from(alike or [spot]))
    new = text[other.stated.value.start : other.stated.value.end]
    return mutant.with_text(
        _cut(text, spot.stated.value.start, spot.stated.value.end, new), f"{spot.stated.name} is {new[:60]}"
    )


def _kind(spot: Spot) -> tuple[object, type]:
    return spot.described.cpp_type if spot.described is not None else None, type(spot.stated.value)


@st.composite
def reformed(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """With a value in another form: in brackets, out of them, without colon, in angle brackets, quoted, empty."""
    text, spot = mutant.text, draw(st.sampled_from(spots(mutant.text)))
    start, end = spot.stated.value.start, spot.stated.value.end
    value = text[start:end]
    forms = [
        f"[ {value} ]",
        f"[ {value}, {value} ]",
        f"[ {value}, ]",
        "[ ]",
        "{ }",
        "< >",
        f'"{value}"',
        f"{{ {value} }}",
    ]
    forms += [value[1:-1], f"<{value[1:-1]}>", f"{value},", f"{value};", f"{value},,", f"{value} # {value}", ""]
    new = draw(st.sampled_from(forms))
    if draw(st.integers(0, 4)) == 0:
        return mutant.with_text(_cut(text, spot.stated.name_end, start, " "), f"{spot.stated.name} without colon")
    return mutant.with_text(_cut(text, start, end, new), f"{spot.stated.name} as {new[:60]}")


@st.composite
def edited(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """With a character gone, changed or new."""
    text = mutant.text
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 2))
        new = draw(st.one_of(st.just(""), st.sampled_from(BYTES)))
        text = _cut(text, at, min(at + cut, len(text)), new)
    return mutant.with_text(text, "characters")


@st.composite
def halved(draw: st.DrawFn, mutant: Mutant) -> Mutant:
    """Without its end, as a copy that broke off."""
    return mutant.with_text(mutant.text[: draw(st.integers(0, len(mutant.text)))], "cut off")


@st.composite
def values(draw: st.DrawFn, described: FieldDescriptor, text: str, depth: int) -> str:
    """A value for a field, right or wrong; as text."""
    if described.message_type is not None:
        return draw(_message(described.message_type, text, depth))
    if described.is_repeated and draw(st.booleans()):
        items = draw(st.lists(_scalar(described, text), max_size=3))
        return f"[ {', '.join(items)} ]"
    return draw(_scalar(described, text))


@st.composite
def _message(draw: st.DrawFn, owner: Descriptor, text: str, depth: int) -> str:
    inner = list(owner.fields)
    if not inner or depth <= 0:
        return "{ }"
    # Entries of maps are whole; of other messages some fields are stated, in their order.
    entry = owner.GetOptions().map_entry
    stated = inner if entry else draw(st.lists(st.sampled_from(inner), max_size=4, unique_by=lambda each: each.name))
    parts = [f"{each.name}: {draw(values(each, text, depth - 1))}" for each in stated]
    return f"{{ {' '.join(parts)} }}"


def _scalar(described: FieldDescriptor, text: str) -> st.SearchStrategy[str]:
    if described.enum_type is not None:
        names = [each.name for each in described.enum_type.values]
        return st.sampled_from(
            [*names, *names, *names, names[-1].lower(), f'"{names[-1]}"', "0", "1", "99", "-1", "NONE"]
        )
    if described.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return st.sampled_from([*strings(text), *(f'"{word}"' for word in WORDS)])
    if described.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.sampled_from(LITERALS)
    return st.sampled_from(NUMBERS)


def strings(text: str) -> list[str]:
    """Every string of a text, quoted."""
    found = [spot.stated.value for spot in spots(text)]
    return sorted({text[each.start : each.end] for each in found if isinstance(each, Scalar) and each.kind == "string"})
