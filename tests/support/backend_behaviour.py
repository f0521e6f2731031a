"""What every backend does alike, as tests that a backend's own live tests inherit."""

from __future__ import annotations

import queue
import time
from functools import partial
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from support.onnx_repository import at_once, floats, infer_input


class Runs:
    """Counts a model's runs from now on."""

    def __init__(self, client: Any, model: str) -> None:
        self._client, self._model = client, model
        self._before = self._counts()

    def after(self, requests: int) -> int:
        """The runs that these requests took; Triton counts a little after it has answered, requests before runs."""
        while (now := self._counts())[1] < self._before[1] + requests or now[0] == self._before[0]:
            time.sleep(0.02)
        return now[0] - self._before[0]

    def _counts(self) -> tuple[int, int]:
        stats = self._client.get_inference_statistics(self._model).model_stats[0]
        return stats.execution_count, stats.inference_stats.success.count + stats.inference_stats.fail.count


def given_up_requests_are_not_run(client: Any, steps: int) -> None:
    """Three wait behind a long run of `slow`, two are cancelled: the third runs in a batch of one, as `rows` tells."""

    def send(steps: int) -> tuple[Any, queue.Queue[Any]]:
        answer: queue.Queue[Any] = queue.Queue()
        inputs = [infer_input("steps", np.array([[steps]]), "INT64")]
        return client.async_infer("slow", inputs, callback=lambda result, error: answer.put(error or result)), answer

    _, long_run = send(steps)
    time.sleep(0.3)  # the long run has begun; Triton forms a batch of what comes now
    given_up = [send(steps=1)[0] for _ in range(2)]
    _, waiting = send(steps=1)
    time.sleep(0.2)  # a request that is cancelled before it is batched never reaches the backend
    for call in given_up:
        call.cancel()
    assert long_run.get(timeout=60).as_numpy("rows").item() == 1
    assert waiting.get(timeout=60).as_numpy("rows").item() == 1


class BackendBehaviour:
    """Tests of a server whose `client` finds two models.

    `pair` takes x FP32 [batch, n] and answers doubled = 2x and negated = -x, batching up to 8; `slow` is as
    `onnx_models.slow`.

    Attributes:
        long_run: How many steps of `slow` take a second or more.
    """

    long_run = 200

    def test_a_dynamic_batch_is_one_run(self, client: Any) -> None:
        """Eight requests that Triton batches run once, and each gets its own rows."""
        runs = Runs(client, "pair")
        futures = at_once([partial(client.infer, "pair", [floats("x", [[number, 1]])]) for number in range(8)])
        answers = [future.result().as_numpy("doubled").tolist() for future in futures]
        assert answers == [[[2 * number, 2]] for number in range(8)]
        assert runs.after(requests=8) == 1

    def test_requests_of_several_rows_share_a_run(self, client: Any) -> None:
        """Rows are split by the size of each request's own batch."""
        runs = Runs(client, "pair")
        sizes = [1, 3, 4]
        futures = at_once([partial(client.infer, "pair", [floats("x", [[size, 0]] * size)]) for size in sizes])
        for size, future in zip(sizes, futures, strict=True):
            assert future.result().as_numpy("doubled").tolist() == [[2 * size, 0]] * size
        assert runs.after(requests=3) == 1

    def test_a_request_of_another_shape_is_served_beside_the_batch(self, client: Any) -> None:
        """Requests of unlike shapes, sent at once, each get their answer; one is empty."""
        futures = at_once([partial(client.infer, "pair", [floats("x", [[1] * size])]) for size in (1, 2, 0, 1)])
        assert [future.result().as_numpy("doubled").tolist() for future in futures] == [[[2]], [[2, 2]], [[]], [[2]]]

    def test_answers_are_not_overwritten_by_the_next_run(self, client: Any) -> None:
        """A batch of unlike shapes takes several runs, whose answers are sent together at the end."""
        futures = at_once([partial(client.infer, "pair", [floats("x", [[size] * size])]) for size in range(1, 5)])
        for size, future in enumerate(futures, start=1):
            assert future.result().as_numpy("negated").tolist() == [[-size] * size]

    def test_only_the_outputs_that_were_asked_for_come(self, client: Any) -> None:
        """One of two, and not the other."""
        wanted = [grpc.InferRequestedOutput("negated")]
        result = client.infer("pair", [floats("x", [[1, 2]])], outputs=wanted)
        assert [output.name for output in result.get_response().outputs] == ["negated"]
        assert result.as_numpy("negated").tolist() == [[-1, -2]]

    def test_a_request_that_was_given_up_is_not_run(self, client: Any) -> None:
        """What waits behind a long run and is cancelled does not reach the model."""
        given_up_requests_are_not_run(client, self.long_run)

    def test_the_wrong_type_is_refused(self, client: Any) -> None:
        """A request of another data type than config.pbtxt's is the client's mistake."""
        with pytest.raises(InferenceServerException, match="x"):
            client.infer("pair", [infer_input("x", np.array([[1]]), "INT64")])
