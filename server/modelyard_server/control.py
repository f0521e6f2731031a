"""What a running Triton says of its models over HTTP, and what it is told about them. Works with any Triton.

The routes are those of the KServe v2 protocol and of Triton's model repository extension.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any

from modelyard_server.errors import ModelControlError, UnreachableError

TIMEOUT_S = 10.0
LOAD_TIMEOUT_S = 300.0
READY = "READY"
UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class ModelState:
    """One row of the repository index.

    Attributes:
        version: empty where no version of the model was ever loaded.
        state: READY, LOADING, UNLOADING or UNAVAILABLE.
        reason: Triton's own words for a state other than READY; often empty.
    """

    name: str
    version: str
    state: str
    reason: str


def server_metadata(url: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The name, version and extensions of the server at `url` ("host:port").

    Raises:
        UnreachableError: nobody answers there, or somebody else than Triton.
    """
    status, body = _request(url, "GET", "/v2", timeout_s)
    return dict(_parsed(url, status, body, dict))


def repository_index(url: str, timeout_s: float = TIMEOUT_S) -> list[ModelState]:
    """Every model that the server at `url` knows of, loaded or not, by name and version.

    Raises:
        UnreachableError: nobody answers there, or somebody else than Triton.
    """
    status, body = _request(url, "POST", "/v2/repository/index", timeout_s)
    rows = [_model_state(row) for row in _parsed(url, status, body, list)]
    return sorted(rows, key=lambda row: (row.name, row.version.zfill(20)))


def load_model(url: str, name: str, timeout_s: float = LOAD_TIMEOUT_S) -> None:
    """Loads a model, or reloads it with what now stands in the repository, and waits until it serves.

    Raises:
        ModelControlError: Triton refused; the message is Triton's.
        UnreachableError: nobody answers at `url`.
    """
    _control(url, name, "load", timeout_s)


def unload_model(url: str, name: str, timeout_s: float = LOAD_TIMEOUT_S) -> None:
    """Takes a model out of service.

    Raises:
        ModelControlError: Triton refused; the message is Triton's.
        UnreachableError: nobody answers at `url`.
    """
    _control(url, name, "unload", timeout_s)


def _control(url: str, name: str, verb: str, timeout_s: float) -> None:
    status, body = _request(url, "POST", f"/v2/repository/models/{name}/{verb}", timeout_s)
    if status != 200:
        raise ModelControlError(_error_text(body))


def _request(url: str, method: str, path: str, timeout_s: float) -> tuple[int, bytes]:
    connection = HTTPConnection(url, timeout=timeout_s)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException) as error:
        raise UnreachableError(f"no Triton answers at {url}: {error or type(error).__name__}.") from error
    finally:
        connection.close()


def _parsed(url: str, status: int, body: bytes, expected: type) -> Any:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if status != 200 or not isinstance(value, expected):
        raise UnreachableError(f"what answers at {url} is no Triton, or refuses this: {status} {_error_text(body)}")
    return value


def _error_text(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")


def _model_state(row: dict[str, Any]) -> ModelState:
    return ModelState(row["name"], row.get("version", ""), row.get("state", UNAVAILABLE), row.get("reason", ""))
