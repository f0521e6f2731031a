"""Asks a running Triton about the model to measure: the one place of this package that does network I/O."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, TypeVar

from modelyard_ops.errors import OpsError
from modelyard_ops.perf.plan import DEFAULT_URL, Plan

TIMEOUT_S = 10.0

T = TypeVar("T")


@dataclass(frozen=True)
class ServedModel:
    """What a measurement needs to know of a model that is ready.

    Attributes:
        version: the version that answers.
        inputs: names of its inputs.
        max_batch_size: 0 for a model without a batch dimension.
    """

    version: str
    inputs: tuple[str, ...]
    max_batch_size: int


def served_model(plan: Plan) -> ServedModel:
    """The plan's model as the server describes it.

    Raises:
        OpsError: nobody answers, the model is unknown or not ready, its version is not served, the plan's batch size
            is more than it takes, or it answers with streams.
    """
    index, metadata, config = (_ask_grpc if plan.protocol == "grpc" else _ask_http)(plan)
    _check_known(plan, index)
    if not metadata:
        raise OpsError(_not_ready(plan, index))
    versions = sorted(metadata["versions"], key=int)
    if plan.version is not None and plan.version not in versions:
        raise OpsError(f"version {plan.version} of {plan.model!r} is not served; there is {', '.join(versions)}.")
    served = ServedModel(
        version=plan.version or versions[-1],
        inputs=tuple(tensor["name"] for tensor in metadata["inputs"]),
        max_batch_size=int(config.get("max_batch_size", 0)),
    )
    _check_batch_size(plan, served.max_batch_size)
    if config.get("model_transaction_policy", {}).get("decoupled"):
        raise OpsError(
            f"{plan.model!r} answers each request with a stream, and perf_analyzer measures whole requests. "
            f"`modelyard systems {plan.model}` gives the time to the first response and to the last."
        )
    return served


Answer = tuple[Sequence[Mapping[str, Any]], Mapping[str, Any], Mapping[str, Any]]


def _ask_grpc(plan: Plan) -> Answer:
    import tritonclient.grpc as triton

    options = {"as_json": True, "client_timeout": TIMEOUT_S}
    with triton.InferenceServerClient(plan.url) as client:
        index = _reached(plan, lambda: client.get_model_repository_index(**options)).get("models", [])
        if not _reached(plan, lambda: client.is_model_ready(plan.model, client_timeout=TIMEOUT_S)):
            return index, {}, {}
        metadata = _reached(plan, lambda: client.get_model_metadata(plan.model, **options))
        config = _reached(plan, lambda: client.get_model_config(plan.model, **options))
    return index, metadata, config["config"]


def _ask_http(plan: Plan) -> Answer:
    import tritonclient.http as triton

    with triton.InferenceServerClient(plan.url, connection_timeout=TIMEOUT_S, network_timeout=TIMEOUT_S) as client:
        index = _reached(plan, client.get_model_repository_index)
        if not _reached(plan, lambda: client.is_model_ready(plan.model)):
            return index, {}, {}
        metadata = _reached(plan, lambda: client.get_model_metadata(plan.model))
        config = _reached(plan, lambda: client.get_model_config(plan.model))
    return index, metadata, config


def _reached(plan: Plan, question: Callable[[], T]) -> T:
    """The answer to a question, or one sentence about why there is none."""
    from tritonclient.utils import InferenceServerException

    try:
        return question()
    except (InferenceServerException, HTTPException, OSError) as error:
        reason = error.message() if isinstance(error, InferenceServerException) else str(error)
        raise OpsError(
            f"no Triton answers {plan.protocol} at {plan.url}: {_first_line(reason)}. Start one with `modelyard serve`,"
            f" or name one with --url (by default gRPC is at {DEFAULT_URL['grpc']}, HTTP at {DEFAULT_URL['http']})."
        ) from None


def _first_line(reason: str) -> str:
    return (reason.strip().splitlines() or ["no reason given"])[0].rstrip(".")


def _check_known(plan: Plan, index: Sequence[Mapping[str, Any]]) -> None:
    names = sorted({entry["name"] for entry in index})
    if plan.model in names:
        return
    near = difflib.get_close_matches(plan.model, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(names) or 'no model at all'}."
    raise OpsError(
        f"the server at {plan.url} has no model {plan.model!r}; {hint} One that is not built yet is not served: "
        f"modelyard build {plan.model}"
    )


def _not_ready(plan: Plan, index: Sequence[Mapping[str, Any]]) -> str:
    entries = [entry for entry in index if entry["name"] == plan.model]
    if not any(entry.get("version") for entry in entries):
        return (
            f"model {plan.model!r} is in the server's repository and is not loaded. If it is not built yet: "
            f"modelyard build {plan.model}. Else `modelyard status` shows the reason."
        )
    states = ", ".join(
        f"version {entry.get('version', '?')} {entry.get('state', 'not loaded')}"
        + (f" ({entry['reason']})" if entry.get("reason") else "")
        for entry in entries
    )
    return f"model {plan.model!r} is on the server but not ready: {states}. `modelyard status` shows the reason."


def _check_batch_size(plan: Plan, max_batch_size: int) -> None:
    if plan.batch_size > max(1, max_batch_size):
        takes = f"takes at most {max_batch_size}" if max_batch_size else "has no batch dimension (max_batch_size 0)"
        raise OpsError(f"batch size {plan.batch_size} is too large: {plan.model!r} {takes}.")
