"""Whether every model serves: decided without I/O, out of what the repository holds and what is known of the server.

Triton's own `/v2/health/ready` does not tell. It answers 200 with a config that cannot be parsed, with a model without
a version (which is not even in the repository index), and with a model whose Python process is dead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from modelyard_server.log import one_line

READY = "READY"
LOADING = "LOADING"
UNLOADING = "UNLOADING"
UNAVAILABLE = "UNAVAILABLE"
UNHEALTHY = "UNHEALTHY"
"""Triton says READY, and every inference fails."""

NO_VERSION = "at least one version must be available"
"""In Triton's reason for a model without a numbered folder."""

UNLOADED = "unloaded"
"""Triton's reason for a version that was taken out of service on purpose."""


@dataclass(frozen=True)
class ModelState:
    """One version of a model; one row of Triton's repository index.

    Attributes:
        version: empty where none was ever loaded.
        state: READY, LOADING, UNLOADING, UNAVAILABLE; or UNHEALTHY, which is not Triton's word.
        reason: why it is not READY; or, of a READY one, what an operator should know nevertheless.
    """

    name: str
    version: str
    state: str
    reason: str


def is_model_name(folder: str) -> bool:
    """Whether a folder of a repository is meant as a model; Triton tries to load hidden ones and caches too."""
    return not folder.startswith((".", "__"))


def judge(
    expected: Collection[str],
    index: Iterable[ModelState],
    failures: Mapping[str, str],
    dead: Mapping[tuple[str, str], str],
) -> list[ModelState]:
    """The state of every version that serves or should, by model and version.

    Args:
        expected: the models that the repository holds; each has at least one row in the answer.
        index: Triton's repository index.
        failures: for a model whose last load failed, the reason out of the log.
        dead: for a model's version, how many of its Python processes died, in words.
    """
    rows: dict[str, list[ModelState]] = {name: [] for name in expected}
    for row in index:
        if is_model_name(row.name):
            rows.setdefault(row.name, []).append(row)
    return [
        _judged(row, failures.get(name, ""), dead.get((name, row.version)))
        for name in sorted(rows)
        for row in _rows_of_interest(name, rows[name])
    ]


def not_ready(states: Iterable[ModelState]) -> dict[str, str]:
    """For each model with a version that is not READY, the reason."""
    return {row.name: row.reason or row.state for row in states if row.state != READY}


def _rows_of_interest(name: str, rows: list[ModelState]) -> list[ModelState]:
    """A model's rows without the versions that were or are being replaced; one row at least."""
    current = [row for row in rows if row.state != UNLOADING and row.reason != UNLOADED]
    if current:
        return sorted(current, key=lambda row: row.version.zfill(20))
    if not rows:
        return [ModelState(name, "", UNAVAILABLE, "Triton knows no such model")]
    return [ModelState(name, "", UNAVAILABLE, "it was unloaded")]


def _judged(row: ModelState, logged: str, dead: str | None) -> ModelState:
    if row.state == READY and dead:
        reason = f"{dead} and the inferences that reach them fail; stop the server and start it again"
        return ModelState(row.name, row.version, UNHEALTHY, reason)
    if row.state == READY:
        reason = f"serves as it was loaded; the last load failed: {logged}" if logged else ""
        return ModelState(row.name, row.version, READY, reason)
    # The index has the reason of a failed initialisation; that of a config or a folder is in the log alone.
    said = one_line(row.reason if row.version else logged or row.reason)
    if NO_VERSION in said:
        said = f"it has no version to serve; make one with `modelyard build {row.name}`"
    return ModelState(row.name, row.version, row.state, said)
