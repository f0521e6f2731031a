"""Every effective setting of a config, in the order of ModelConfig's fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from modelyard_build.repository.explain.effective import Effective, Origin
from modelyard_build.repository.explain.effects import Context, effect
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.binding import Path
from modelyard_build.repository.text_format.paths import shown

# A tensor and a step are said in one line each; a map's entry and everything else in its own.
_IN_ONE = {"input", "output", "step", "model_warmup", "latest", "specific", "all", "control_input", "state"}
# What a reader asks first; ModelConfig's other fields follow in its own order.
_FIRST = ("backend", "platform", "default_model_filename", "version_policy", "max_batch_size", "input", "output")
# Said by what stands around it.
_SILENT = {"instance_group.name", "name"}


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        path: as `config set` takes it.
        value: as config.pbtxt writes it.
        origin: where it is from.
        line: of config.pbtxt, where it is written; 0 otherwise.
        effect: what it does.
    """

    path: str
    value: str
    origin: Origin
    line: int
    effect: str


def settings(config: Config, found: Effective, context: Context) -> list[Setting]:
    """Every setting that is written or that Triton fills in."""
    walked = sorted(_walk(found.message, ()), key=lambda item: _rank(item[0][0]))
    return [_setting(config, found, context, path, value) for path, value in walked]


def _rank(name: str | int) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _setting(config: Config, found: Effective, context: Context, path: Path, value: Any) -> Setting:
    origin = found.origin(path)
    line = _line(config, path) if origin is Origin.WRITTEN else 0
    return Setting(shown(found.message.DESCRIPTOR, path), _shown(value), origin, line, effect(path, value, context))


def _line(config: Config, path: Path) -> int:
    place = config.place(*path)
    if place is None:
        return 0
    # An element of a list has a line of its own.
    start = place.value.start if isinstance(path[-1], int) else place.field.name_start
    return config.document.position(start)[0]


def _walk(message: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    for described, value in message.ListFields():
        here = (*path, described.name)
        if ".".join(part for part in here if isinstance(part, str)) in _SILENT:
            continue
        yield from _field(described, value, here)


def _field(described: FieldDescriptor, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    message_type = described.message_type
    if message_type is None:
        yield path, _enum(described, value) if described.enum_type and not described.is_repeated else value
    elif message_type.GetOptions().map_entry:
        for key in sorted(value):
            yield (*path, key), value[key]
    elif described.is_repeated:
        for index, item in enumerate(value):
            yield from _message(item, (*path, index), described.name)
    else:
        yield from _message(value, path, described.name)


def _message(value: Any, path: Path, name: str) -> Iterator[tuple[Path, Any]]:
    if name in _IN_ONE or name == "version_policy":
        yield path, value
        return
    if not value.ListFields():
        yield path, value
        return
    if name in ("dynamic_batching", "sequence_batching", "ensemble_scheduling"):
        yield path, None
    yield from _walk(value, path)


def _enum(described: FieldDescriptor, value: int) -> Any:
    known = described.enum_type.values_by_number if described.enum_type else {}
    return _Name(known[value].name) if value in known else value


class _Name(str):
    """An enum's value: written without quotes."""

    __slots__ = ()


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, _Name | int | float):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    if hasattr(value, "ListFields"):
        return _one_line(value)
    return f"[ {', '.join(_shown(item) for item in value)} ]"


def _one_line(message: Any) -> str:
    from google.protobuf import text_format

    fields = [described.name for described, _value in message.ListFields()]
    if fields == ["string_value"]:
        return _shown(message.string_value)
    return text_format.MessageToString(message, as_one_line=True).strip() or "{ }"
