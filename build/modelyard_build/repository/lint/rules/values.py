"""Values as a config states them: those of parameters, how messages quote them, and how they are read as numbers."""

from __future__ import annotations

from modelyard_build.repository.lint.subjects import Config


def parameter(config: Config, key: str) -> str:
    """What a config says of a key of its `parameters`; empty where it does not."""
    # A protobuf map makes the entry that it is asked for.
    stated = config.message.parameters
    return str(stated[key].string_value) if key in stated else ""


def whole_number(text: str) -> int:
    """A number that is written in digits alone; 0 where it is none, or a very large one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def quoted(value: str) -> str:
    """A value as messages show it, cut where it is long."""
    return repr(value if len(value) <= 40 else f"{value[:40]}…")
