"""Sequences under load: each its own, the step asked as Triton asks it, and the figures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc

from measure.load_generator import Round
from measure.python_steps import Request, Response, TritonError
from measure.sequences import Memory, OwnSequences, endings, row, table
from measure.served import Tensors, add_parameters
from modelyard_server.errors import ServerError

REQUESTS: list[Tensors] = [{"number": np.array([[number]])} for number in range(3)]


class Step:
    """Notes what it is asked, and knows no sequence that did not begin."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[int, int]]] = []
        self.known: set[int] = set()

    def execute(self, requests: list[Request]) -> list[Response]:
        """A response for each."""
        asked = [request.inputs for request in requests]
        self.asked.append([(int(inputs["CORRID"].item()), int(inputs["number"].item())) for inputs in asked])
        self.known |= {int(inputs["CORRID"].item()) for inputs in asked if inputs["START"].item()}
        known = [int(inputs["CORRID"].item()) in self.known for inputs in asked]
        return [Response() if one else Response(error=TritonError("no START")) for one in known]


def test_each_loop_gets_a_sequence_of_its_own() -> None:
    """The bytes that are added make another message of the same request."""
    request = grpc.service_pb2.ModelInferRequest(model_name="m")
    add_parameters(request, sequence_start=True, priority=1)
    for number, ending in enumerate(endings(3), start=1):
        found = grpc.service_pb2.ModelInferRequest.FromString(request.SerializeToString() + bytes.fromhex(ending))
        assert found.model_name == "m"
        assert found.parameters["sequence_start"].bool_param
        assert found.parameters["priority"].int64_param == 1
        assert found.parameters["sequence_id"].int64_param == number


def test_the_step_is_asked_in_batches_as_large_as_tritons() -> None:
    """Five sequences in batches of two, each request for all of them; after the last one they begin anew."""
    step = Step()
    assert OwnSequences(step, REQUESTS, count=5, max_batch_size=2).rate(0.01) > 0
    assert step.asked[:3] == [[(1, 0), (2, 0)], [(3, 0), (4, 0)], [(5, 0)]]
    assert [batch[0] for batch in step.asked[::3]][:4] == [(1, 0), (1, 1), (1, 2), (1, 0)]


async def _later(requests: list[Request]) -> list[Response]:
    return [Response(error=TritonError("not today")) for _ in requests]


def test_a_step_that_refuses_is_no_throughput() -> None:
    """Also one that answers asynchronously."""
    step: Any = SimpleNamespace(execute=_later)
    with pytest.raises(ServerError, match="not today"):
        OwnSequences(step, REQUESTS, count=1, max_batch_size=2).rate(0.01)


def test_the_figures_are_of_each_rounds_own_pair() -> None:
    """And memory is what was held while they were live."""
    rounds = [Round(throughput, [0.010] * 100, 100, 1.0, 0.1) for throughput in (100.0, 50.0)]
    found = row(32, rounds, [200.0, 100.0], Memory(100 << 20, 300 << 20))
    assert found.ratio.mean == pytest.approx(0.5)
    assert found.ratio.low == pytest.approx(found.ratio.high)
    assert (found.p50_ms, found.p99_ms) == pytest.approx((10, 10))
    shown = table([found], Memory(90 << 20, 250 << 20))
    assert "100 MiB   300 MiB" in shown
    assert "90 MiB   250 MiB" in shown.splitlines()[1]
