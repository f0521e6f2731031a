"""The `parameters` that Triton's backends read: a table in data, not code."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("backend_parameters.json")
_BOOLEANS = ("true", "on", "1", "false", "off", "0")

# A parameter's type and values, or what else the table says of a backend.
Described = Mapping[str, Any]


@cache
def described(backend: str) -> Described | None:
    """What is known of a backend's settings; None: nothing."""
    found: Described | None = json.loads(TABLE.read_text(encoding="utf-8"))["backends"].get(backend)
    return found


def expected(parameter: Described, value: str) -> str:
    """What a parameter must be where a backend refuses its value; empty: it takes it.

    Args:
        parameter: as the table describes it.
        value: the `string_value`.
    """
    return _CHECKS[parameter["type"]](parameter, value)


def close(key: str, known: Mapping[str, Any]) -> str:
    """The nearest known key in the words of a message; empty where none is near."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(key.lower()[:100], by_lower, 1, 0.6)
    return f" Did you mean {by_lower[found[0]]}?" if found else ""


def _integer(parameter: Described, value: str) -> str:
    values = parameter.get("values")
    limit = 1 << (parameter.get("bits", 32) - 1)
    try:
        number = int(value[:100])
    except ValueError:
        return " or ".join(values) if values else "a whole number"
    if values:
        return "" if str(number) in values else " or ".join(values)
    return "" if -limit <= number < limit else "a whole number that is not so large"


def _boolean(_: Described, value: str) -> str:
    return "" if value.lower() in _BOOLEANS else "true or false"


def _number(_: Described, value: str) -> str:
    return "" if not value or (value.isascii() and value.isdigit()) else "a number that is not negative"


def _words(parameter: Described, value: str) -> str:
    values = parameter["values"]
    fits = value in values or (not parameter.get("exact") and (not value or value.upper() in values))
    return "" if fits else " or ".join(values)


def _number_or_words(parameter: Described, value: str) -> str:
    if not _number(parameter, value) or not _words(parameter, value):
        return ""
    return f"{', '.join(parameter['values'])} or a number"


def _anything(_: Described, __: str) -> str:
    return ""


_CHECKS = {
    "integer": _integer,
    "boolean": _boolean,
    "number": _number,
    "words": _words,
    "number_or_words": _number_or_words,
    "switch": _anything,
    "text": _anything,
}
