"""Values of `parameters` in config.pbtxt: all are strings, and are read as the container's backends read them."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard_server.backend_support.errors import ModelLoadError

# ParseBoolValue of triton-inference-server/backend, src/backend_common.cc; upper and lower case are one.
_BOOLEANS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


def int_value(parameters: Mapping[str, str], key: str, default: int) -> int:
    """The parameter as a whole number.

    Raises:
        ModelLoadError: It is not one.
    """
    if key not in parameters:
        return default
    try:
        return int(parameters[key])
    except ValueError:
        raise _refusal(key, parameters[key], "a whole number") from None


def bool_value(parameters: Mapping[str, str], key: str, default: bool) -> bool:
    """The parameter as a boolean: true, on, 1, false, off or 0.

    Raises:
        ModelLoadError: It is none of them.
    """
    if key not in parameters:
        return default
    try:
        return _BOOLEANS[parameters[key].lower()]
    except KeyError:
        raise _refusal(key, parameters[key], "true, on, 1, false, off or 0") from None


def _refusal(key: str, value: str, expected: str) -> ModelLoadError:
    return ModelLoadError(f"parameter '{key}' is '{value}', expected {expected}: mend it in config.pbtxt")
