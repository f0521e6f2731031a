"""HTTP to a running Triton, whoever started it: the routes that this package uses, and nothing else.

The routes are those of the KServe v2 protocol and of Triton's model repository extension.
"""

from __future__ import annotations

import json
import select
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import Any, TypeVar
from urllib.parse import quote

from modelyard_server.errors import ModelControlError, UnreachableError
from modelyard_server.readiness import UNAVAILABLE, ModelState

TIMEOUT_S = 10.0
LOAD_TIMEOUT_S = 300.0
WATCH_S = 0.5

JsonT = TypeVar("JsonT", dict[str, Any], list[Any])


def server_metadata(url: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The name, version and extensions of the server at `url` ("host:port").

    Raises:
        UnreachableError: nobody answers there, or somebody else than Triton.
    """
    return _json(url, "GET", "/v2", timeout_s, dict)


def repository_index(url: str, timeout_s: float = TIMEOUT_S) -> list[ModelState]:
    """Every version that the server at `url` knows of, loaded or not.

    Raises:
        UnreachableError: nobody answers there, or somebody else than Triton.
    """
    rows = _json(url, "POST", "/v2/repository/index", timeout_s, list)
    return [
        ModelState(row["name"], row.get("version", ""), row.get("state", UNAVAILABLE), row.get("reason", ""))
        for row in rows
    ]


def model_config(url: str, name: str, version: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The configuration of a model that is loaded, with what Triton filled in.

    Raises:
        UnreachableError: nobody answers there, or the model is not loaded.
    """
    return _json(url, "GET", f"/v2/models/{quote(name)}/versions/{quote(version)}/config", timeout_s, dict)


def control_model(url: str, name: str, verb: str, timeout_s: float, watch: Callable[[], None] | None = None) -> None:
    """Loads or unloads a model, and waits until that is done.

    Args:
        url: "host:port".
        name: of the model.
        verb: "load" or "unload".
        timeout_s: for the whole of it.
        watch: called about twice a second meanwhile; what it raises ends the waiting.

    Raises:
        ModelControlError: Triton refused; the message is Triton's.
        UnreachableError: nobody answers at `url`, or not in time.
    """
    status, body = _request(url, "POST", f"/v2/repository/models/{quote(name)}/{verb}", timeout_s, watch)
    if status != 200:
        raise ModelControlError(_error_text(body))


def _json(url: str, method: str, path: str, timeout_s: float, expected: type[JsonT]) -> JsonT:
    status, body = _request(url, method, path, timeout_s)
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if status != 200 or not isinstance(value, expected):
        raise UnreachableError(
            f"what answers at {url} is no Triton, or refuses {path}: HTTP status {status} {_error_text(body)}".rstrip()
        )
    return value


def _request(
    url: str, method: str, path: str, timeout_s: float, watch: Callable[[], None] | None = None
) -> tuple[int, bytes]:
    connection = HTTPConnection(url, timeout=timeout_s)
    try:
        connection.request(method, path)
        if watch:
            _watch_until_answered(connection, watch, timeout_s)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreachableError(f"no Triton answers at {url}: {reason}.") from error
    finally:
        connection.close()


def _watch_until_answered(connection: HTTPConnection, watch: Callable[[], None], timeout_s: float) -> None:
    waited = 0.0
    while waited < timeout_s and not select.select([connection.sock], [], [], WATCH_S)[0]:
        waited += WATCH_S
        watch()


def _error_text(body: bytes) -> str:
    """The message of an answer that is an error; empty where it is not Triton's."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return ""
