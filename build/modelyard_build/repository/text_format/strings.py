"""Strings of protobuf's text format: what is between the quotes, read and written."""

from __future__ import annotations

import re

_SIMPLE = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34, "?": 63}
_ESCAPE = re.compile(
    r"""\\(?:(?P<simple>[abfnrtv\\'"?])
    |(?P<octal>[0-7]{1,3})
    |x(?P<hexadecimal>[0-9a-fA-F]{1,2})
    |u(?P<head>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<trail>[dD][c-fC-F][0-9a-fA-F]{2})
    |(?:u(?P<short>[0-9a-fA-F]{4})|U(?P<long>00[01][0-9a-fA-F]{5}))
    |(?P<none>))""",
    re.VERBOSE,
)
_MUST_BE_ESCAPED = re.compile(r"""[\\"'\x00-\x1f\x7f\udc80-\udcff]""")
_NAMED = {"\n": "n", "\r": "r", "\t": "t"}
_LARGEST = 0x10FFFF


def unescaped(inner: str) -> bytes | None:
    """The bytes that stand between two quotes, as the C++ parser reads them; None where an escape is none."""
    if "\\" not in inner:
        return inner.encode("utf-8", "surrogateescape")
    read = []
    at = 0
    for match in _ESCAPE.finditer(inner):
        if match.lastgroup == "none":
            return None
        read += [inner[at : match.start()].encode("utf-8", "surrogateescape"), _meant(match)]
        at = match.end()
    return b"".join([*read, inner[at:].encode("utf-8", "surrogateescape")])


def _meant(match: re.Match[str]) -> bytes:
    simple, octal, hexadecimal, head, trail, short, long = match.groups()[:7]
    if simple:
        return bytes([_SIMPLE[simple]])
    if octal or hexadecimal:
        return bytes([(int(octal, 8) if octal else int(hexadecimal, 16)) & 0xFF])
    code = _pair(int(head, 16), int(trail, 16)) if head else int(short or long, 16)
    # The C++ parser leaves a number that is no character as it was written.
    return chr(code).encode("utf-8", "surrogatepass") if code <= _LARGEST else b"\\U%08x" % code


def _pair(head: int, trail: int) -> int:
    """The character that two UTF-16 surrogates make."""
    return 0x10000 + ((head - 0xD800) << 10) + trail - 0xDC00


def quoted(text: str, quote: str = '"') -> str:
    """A string with its quotes, which the parser reads as `text`."""

    def escaped(match: re.Match[str]) -> str:
        character = match[0]
        if character in ('"', "'"):
            return f"\\{character}" if character == quote else character
        if character == "\\":
            return "\\\\"
        return f"\\{_NAMED.get(character) or format(ord(character) & 0xFF, '03o')}"

    return f"{quote}{_MUST_BE_ESCAPED.sub(escaped, text)}{quote}"
