"""One run for a batch: joined, split, and a bad request failing alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard_server.backend_support.batching import Job, Outcome, Plan, Tensors, run_jobs
from modelyard_server.backend_support.errors import ExecutionError, RequestError
from modelyard_server.backend_support.model_config import BatchInput, BatchOutput

BATCHED = Plan(batches=True, outputs=("doubled", "tripled"))


class Multiplier:
    """A runtime that computes doubled = 2x and tripled = 3x, refuses negative numbers, and remembers its runs."""

    def __init__(self) -> None:
        self.runs: list[tuple[list[str], Tensors]] = []

    def __call__(self, outputs: Sequence[str], inputs: Tensors) -> list[Any]:
        """Runs the model."""
        self.runs.append((list(outputs), inputs))
        if (inputs["x"] < 0).any():
            raise ExecutionError("negative")
        factors = {"doubled": 2, "tripled": 3}
        return [factors[name] * inputs["x"] for name in outputs]


def job(values: Any, *wanted: str) -> Job:
    """A request for `wanted`, or for doubled alone."""
    return Job({"x": np.array(values, dtype=np.float32)}, wanted or ("doubled",))


def doubled(outcome: Outcome) -> Any:
    """The output of an outcome that is no error."""
    assert isinstance(outcome, dict), outcome
    return outcome["doubled"].tolist()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.integers(0, 3))
def test_joined_requests_get_what_each_would_get_alone(sizes: list[int], width: int) -> None:
    """Whatever the batch sizes, zero-size tensors included: one run, and the answers of the runs apart."""
    run = Multiplier()
    jobs = [job(np.random.default_rng(size).random((size, width))) for size in sizes]
    together = run_jobs(jobs, BATCHED, run)
    assert len(run.runs) == 1
    assert [doubled(outcome) for outcome in together] == [(2 * each.inputs["x"]).tolist() for each in jobs]


def test_a_single_request_is_not_copied() -> None:
    """The runtime gets the very array that came."""
    run = Multiplier()
    single = job([[1.0]])
    run_jobs([single], BATCHED, run)
    assert run.runs[0][1]["x"] is single.inputs["x"]


def test_outputs_are_views_of_the_run() -> None:
    """Splitting copies nothing."""
    outcomes = run_jobs([job([[1.0]]), job([[2.0]])], BATCHED, Multiplier())
    assert all(isinstance(outcome, dict) and outcome["doubled"].base is not None for outcome in outcomes)


def test_one_bad_request_fails_alone() -> None:
    """The joint run fails, each is run for itself, and only the one to blame gets the error."""
    run = Multiplier()
    good, bad, other = run_jobs([job([[1.0]]), job([[-1.0]]), job([[2.0], [3.0]])], BATCHED, run)
    assert doubled(good) == [[2.0]]
    assert isinstance(bad, ExecutionError)
    assert doubled(other) == [[4.0], [6.0]]
    assert len(run.runs) == 4


def test_mixed_shapes_are_grouped_rather_than_padded() -> None:
    """Requests of one shape share a run; the order of the answers is that of the requests."""
    run = Multiplier()
    outcomes = run_jobs([job([[1.0]]), job([[2.0, 3.0]]), job([[4.0]])], BATCHED, run)
    assert [doubled(outcome) for outcome in outcomes] == [[[2.0]], [[4.0, 6.0]], [[8.0]]]
    assert [inputs["x"].shape for _, inputs in run.runs] == [(2, 1), (1, 2)]


def test_a_model_that_does_not_batch_runs_each_request() -> None:
    """Without a batch dimension there is nothing to join along."""
    run = Multiplier()
    outcomes = run_jobs([job([1.0]), job([2.0])], Plan(batches=False, outputs=("doubled",)), run)
    assert [doubled(outcome) for outcome in outcomes] == [[2.0], [4.0]]
    assert len(run.runs) == 2


def test_only_what_somebody_asked_for_is_fetched() -> None:
    """The run fetches the union of the requested outputs, and each request gets its own."""
    run = Multiplier()
    first, second = run_jobs([job([[1.0]], "tripled"), job([[1.0]], "tripled", "doubled")], BATCHED, run)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert (list(first), list(second)) == (["tripled"], ["doubled", "tripled"])
    run_jobs([job([[1.0]], "tripled")], BATCHED, run)
    assert [names for names, _ in run.runs] == [["doubled", "tripled"], ["tripled"]]


def test_requests_with_and_without_an_optional_input_do_not_share_a_run() -> None:
    """Requests are alike only when they carry the same inputs."""
    runs = []

    def run(_: Sequence[str], inputs: Tensors) -> list[Any]:
        runs.append(sorted(inputs))
        return [inputs["x"]]

    more = Job({"x": np.ones((1, 1)), "offset": np.ones((1, 1))}, ("doubled",))
    run_jobs([job([[1.0]]), more, job([[2.0]])], BATCHED, run)
    assert runs == [["x"], ["offset", "x"]]


def test_a_model_that_loses_the_batch_is_an_error_and_not_a_wrong_answer() -> None:
    """Fewer rows than requests: nobody is handed somebody else's row, and the message says what to do."""
    outcomes = run_jobs([job([[1.0]]), job([[2.0], [3.0]])], BATCHED, lambda names, inputs: [inputs["x"][:1]])
    assert doubled(outcomes[0]) == [[1.0]]
    assert "for a batch of 2" in str(outcomes[1])
    assert "max_batch_size: 0" in str(outcomes[1])


def test_scalars_are_one_for_clients_and_rank_0_for_the_runtime() -> None:
    """[1] becomes rank 0 and back; more than one element is the client's mistake."""
    plan = Plan(
        batches=False,
        outputs=("doubled",),
        scalar_inputs=frozenset({"x"}),
        scalar_outputs={"doubled": (1,)},
    )
    run = Multiplier()
    served, refused = run_jobs([job([3.0]), job([1.0, 2.0])], plan, run)
    assert run.runs[0][1]["x"].shape == ()
    assert doubled(served) == [6.0]
    assert isinstance(refused, RequestError)
    assert "input 'x' is a scalar: got shape [2]" in str(refused)


def test_a_ragged_batch_is_flattened_and_scattered() -> None:
    """Requests of different lengths share one run, described by a batch_input and cut up by a batch_output."""
    plan = Plan(
        batches=True,
        outputs=("doubled",),
        ragged=frozenset({"x"}),
        batch_inputs=(BatchInput("BATCH_ACCUMULATED_ELEMENT_COUNT", ("ends",), "TYPE_INT32", "x"),),
        batch_outputs={"doubled": (BatchOutput("BATCH_SCATTER_WITH_INPUT_SHAPE", ("doubled",), "x"), (-1, -1))},
    )
    run = Multiplier()
    outcomes = run_jobs([job([[1.0, 2.0]]), job([[3.0]]), job([[4.0, 5.0, 6.0]])], plan, run)
    assert [doubled(outcome) for outcome in outcomes] == [[[2.0, 4.0]], [[6.0]], [[8.0, 10.0, 12.0]]]
    assert len(run.runs) == 1
    assert run.runs[0][1]["ends"].tolist() == [2, 3, 6]
    assert run.runs[0][1]["ends"].dtype == np.int32


def test_no_requests_no_run() -> None:
    """A batch whose requests were all cancelled costs nothing."""
    run = Multiplier()
    assert run_jobs([], BATCHED, run) == []
    assert run.runs == []


def test_an_error_that_is_no_backend_error_is_not_hidden() -> None:
    """A bug shows itself."""

    def run(_: Sequence[str], __: Tensors) -> list[Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_jobs([job([[1.0]])], BATCHED, run)
