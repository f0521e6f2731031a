"""Which folders Triton takes for versions."""

from __future__ import annotations

import re

# What std::stoll reads of a folder's name: what follows the digits is not looked at.
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_INT64 = range(-(1 << 63), 1 << 63)


def is_version(name: str) -> bool:
    """Whether Triton serves a folder of this name as a version: a number without a leading 0."""
    number = number_read(name)
    return number is not None and name == str(number) and number >= 0 and not is_too_large(number)


def number_read(name: str) -> int | None:
    """The number that Triton takes a folder for; None where it ignores the folder. It may be too large for Triton."""
    if len(name) > 1 and name.startswith("0"):
        return None
    found = _NUMBER.match(name)
    return int(found[1]) if found else None


def is_too_large(number: int) -> bool:
    """Whether a version's number is more than Triton can hold."""
    return number not in _INT64
