"""A step that streams and calls a model, and one that keeps state: declared as the real ones are, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from modelyard_build.model import Array, Arrays, Axis, Evaluation, PythonModel, SequenceBatching, Tensor
from modelyard_build.rounding import joined_rows
from support.small_models import POOLER, load

NET = replace(POOLER, name="speller_net", max_batch_size=4, optimum_batch_size=2)

SPELLER_SOURCE = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.net = json.loads(args["model_config"])["parameters"]["net"]["string_value"]

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            tokens = pb_utils.get_input_tensor_by_name(request, "tokens").as_numpy()
            for end in range(2, len(tokens) + 1):
                ids = tokens[None, :end]
                inputs = [pb_utils.Tensor("input_ids", ids), pb_utils.Tensor("attention_mask", np.ones_like(ids))]
                answer = pb_utils.InferenceRequest(
                    model_name=self.net, requested_output_names=["scores"], inputs=inputs
                ).exec()
                if answer.has_error():
                    sender.send(pb_utils.InferenceResponse(error=answer.error()))
                    break
                best = pb_utils.get_output_tensor_by_name(answer, "scores").as_numpy().argmax(-1)
                outputs = [
                    pb_utils.Tensor("best", best.astype(np.int64)),
                    pb_utils.Tensor("said", np.array([b"%d of %d" % (best[0], end)], np.object_)),
                ]
                sender.send(pb_utils.InferenceResponse(outputs))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""

COUNTER_SOURCE = """
import numpy as np
import triton_python_backend_utils as pb_utils


def of(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        responses = []
        for request in requests:
            key = int(of(request, "CORRID").reshape(-1)[0])
            before = 0 if of(request, "START").any() else self.sums[key]
            self.sums[key] = before + of(request, "value")
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("sum", self.sums[key])]))
            if of(request, "END").any():
                del self.sums[key]
        return responses
"""


def tokens(files: Mapping[str, Path], batch: int) -> Arrays:
    """`tokens`, int64 [batch, 5]."""
    return {"tokens": np.random.default_rng(3).integers(1, 50, (batch, 5))}


def spelled(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What the net says of each beginning of each item: [batch, responses, 1]."""
    net, best, said = load({}), [], []
    for item in inputs["tokens"]:
        ends = range(2, len(item) + 1)
        ids = [torch.from_numpy(item[None, :end]) for end in ends]
        with torch.inference_mode():
            numbers = [int(net(each, torch.ones_like(each)).argmax(-1)) for each in ids]
        best.append(np.array(numbers, np.int64)[None, :, None])
        words = [b"%d of %d" % (number, end) for number, end in zip(numbers, ends, strict=True)]
        said.append(np.array(words, np.object_)[None, :, None])
    return {"best": joined_rows(best), "said": joined_rows(said)}


def right(outputs: Arrays, truth: Array) -> Mapping[str, float]:
    """The share of last answers that are what they should be, and of those that are not."""
    share = float((outputs["best"][:, -1, 0] == truth).mean())
    return {"accuracy": share, "error rate": 1 - share}


def questions(files: Mapping[str, Path]) -> tuple[Arrays, Array]:
    """Tokens, and what the net answers to all of them."""
    inputs = tokens(files, 12)
    return inputs, spelled(files, inputs)["best"][:, -1, 0]


def speller(folder: Path) -> PythonModel:
    """A decoupled step that calls a net for each beginning of its tokens."""
    (folder / "speller.py").write_text(SPELLER_SOURCE)
    return PythonModel(
        name="speller",
        summary="what the net says of each beginning",
        source=folder / "speller.py",
        inputs=(Tensor("tokens", "INT64", (Axis("length", 2, 24),)),),
        outputs=(Tensor("best", "INT64", (1,)), Tensor("said", "BYTES", (1,))),
        files={},
        parameters={},
        calls={"net": NET.name},
        assets={},
        examples=tokens,
        reference=spelled,
        max_batch_size=0,
        dynamic_batching=None,
        decoupled=True,
        verified_items=6,
        evaluation=Evaluation(questions, right, "0" * 64, losses=frozenset({"error rate"})),
    )


def counter(folder: Path) -> PythonModel:
    """A step that adds up the values of a sequence."""
    (folder / "counter.py").write_text(COUNTER_SOURCE)
    return PythonModel(
        name="counter",
        summary="the sum of a sequence so far",
        source=folder / "counter.py",
        inputs=(Tensor("value", "INT64", (1,)),),
        outputs=(Tensor("sum", "INT64", (1,)),),
        files={},
        parameters={},
        assets={},
        examples=lambda files, batch: {"value": np.arange(1, batch + 1).reshape(-1, 1)},
        reference=lambda files, inputs: {"sum": np.cumsum(inputs["value"], axis=0)},
        max_batch_size=4,
        dynamic_batching=None,
        sequence_batching=SequenceBatching(max_sequence_idle_microseconds=5_000_000, max_candidate_sequences=8),
        verified_items=20,
        corners=lambda files: [{"value": np.full((3, 1), 7, np.int64)}],
    )
