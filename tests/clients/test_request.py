"""A whole request against the model's metadata."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelSequenceBatching

from modelyard_client.errors import InvalidInput
from modelyard_client.metadata import ModelMetadata, ModelSignature, TensorSpec, signature_of
from modelyard_client.request import (
    InferOptions,
    InferRequest,
    build_request,
    checked_in_flight,
    random_sequence_id,
)

ADD = ModelSignature(
    "add",
    inputs={name: TensorSpec(name, "FP32", (-1, 4)) for name in ("left", "right", "scale")},
    outputs={name: TensorSpec(name, "FP32", (-1, 4)) for name in ("sum", "difference")},
    max_batch_size=8,
    optional=frozenset({"scale"}),
)
ONES = np.ones((2, 4), np.float32)
BOTH = {"left": ONES, "right": ONES}


def build(inputs: dict[str, Any] | None = None, **options: Any) -> InferRequest:
    """A request to `add`."""
    return build_request(ADD, BOTH if inputs is None else inputs, InferOptions(**options))


def test_inputs_are_encoded() -> None:
    """Name, datatype, shape and content of each; the optional one may be left out."""
    request = build()
    assert [(tensor.name, tensor.datatype, tensor.shape) for tensor in request.inputs] == [
        ("left", "FP32", (2, 4)),
        ("right", "FP32", (2, 4)),
    ]
    assert request.inputs[0].data is not None
    assert request.inputs[0].data.tobytes() == ONES.tobytes()
    assert len(build({**BOTH, "scale": ONES}).inputs) == 3


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"left": ONES}, r"^model 'add' also needs the inputs right; got left\.$"),
        ({}, r"also needs the inputs left, right; got none"),
        ({**BOTH, "rigth": ONES}, r"has no input 'rigth': did you mean 'right'\? It has left, right, scale\."),
        ({**BOTH, "SCALE": ONES}, r"did you mean 'scale'\?"),
        ({**BOTH, "zzz": ONES}, r"has no input 'zzz': It has left"),
        ({"left": ONES, "right": ONES[:1]}, r"different batches: 'left' 2, 'right' 1; make them equal"),
    ],
)
def test_names_and_batches_that_do_not_fit(inputs: dict[str, Any], sentence: str) -> None:
    """Missing and unknown names, with the nearest that exists, and unequal batches."""
    with pytest.raises(InvalidInput, match=sentence) as caught:
        build(inputs)
    assert caught.value.model == "add"


def test_all_outputs_are_asked_for_by_naming_none() -> None:
    """The server returns everything then."""
    assert build().outputs == ()


def test_named_outputs_and_classes() -> None:
    """Classes are asked for beside the outputs that are named, and named ones stay as they are."""
    asked = build(outputs=["difference"], class_count={"sum": 3}).outputs
    assert [(output.name, output.class_count) for output in asked] == [("difference", 0), ("sum", 3)]
    asked = build(class_count={"sum": 3}).outputs
    assert [(output.name, output.class_count) for output in asked] == [("sum", 3), ("difference", 0)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"outputs": ["summ"]}, r"has no output 'summ': did you mean 'sum'\?"),
        ({"class_count": {"nothing": 1}}, r"has no output 'nothing'"),
        ({"class_count": {"sum": 0}}, r"class_count of output 'sum' is 0"),
        ({"traceparent": "abc"}, r"traceparent is 'abc'; expected W3C"),
        ({"traceparent": f"00-{'0' * 32}-{'1' * 16}-01"}, r"traceparent is"),
        ({"parameters": {"timeout": 3}}, r"'timeout' is Triton's own: use the argument deadline"),
        ({"parameters": {"sequence_id": 3}}, r"use the argument sequence_id"),
        ({"parameters": {"triton_x": 3}}, r"begins with 'triton_'"),
        ({"parameters": {"x": [1]}}, r"is a list; Triton takes str, bool, int and float"),
        ({"parameters": {"x": None}}, r"is a NoneType"),
        ({"parameters": {"x": 2**63}}, r"integers of 64 bits"),
        ({"parameters": {"x": float("nan")}}, r"JSON has no such number"),
        ({"parameters": {"x": "\ud800"}}, r"parameter 'x' is .* lone surrogate"),
        ({"request_id": "\ud800"}, r"request_id is .* lone surrogate"),
        ({"sequence_id": "\ud800"}, r"sequence_id is .* lone surrogate"),
        ({"outputs": "sum"}, r"outputs is the str 'sum'; pass a list of names: \['sum'\]"),
        ({"class_count": 3}, r"class_count is 3; pass a dict"),
        ({"priority": -1}, r"priority is -1"),
        ({"sequence_id": 2**64}, r"sequence_id is"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], sentence: str) -> None:
    """Every option has its own sentence."""
    with pytest.raises(InvalidInput, match=sentence):
        build(**options)


def test_priority_and_sequence_become_parameters() -> None:
    """As Triton's protocol extensions name them, beside the caller's own."""
    request = build(parameters={"mine": 1}, priority=2, sequence_id="s", sequence_end=True)
    assert request.parameters == {
        "mine": 1,
        "priority": 2,
        "sequence_id": "s",
        "sequence_start": False,
        "sequence_end": True,
    }
    assert request.sequence_id == "s"


def test_ids_are_made_and_kept() -> None:
    """32 hexadecimal digits of a random UUID, or what the caller gives."""
    assert build().request_id != build().request_id
    assert int(build().request_id, 16) >= 0
    assert build(request_id="mine").request_id == "mine"


def test_models_that_cannot_be_called_so() -> None:
    """Decoupled models stream; sequence models need an id."""
    decoupled = ModelSignature("stream", {}, {}, decoupled=True)
    with pytest.raises(InvalidInput, match="is decoupled"):
        build_request(decoupled, {}, InferOptions())
    assert build_request(decoupled, {}, InferOptions(), streamed=True).model == "stream"
    stateful = ModelSignature("counter", {}, {}, sequence=True)
    with pytest.raises(InvalidInput, match="pass sequence_id"):
        build_request(stateful, {}, InferOptions())
    assert build_request(stateful, {}, InferOptions(sequence_id=1)).sequence_id == 1


@pytest.mark.parametrize(
    ("correlation", "taken", "refused"),
    [
        (None, [1, 2**63 - 1, "text"], [-1, 2**63]),
        ("UINT64", [1, 2**63 - 1], [-1, 2**63, "text"]),
        ("INT32", [1, 2**31 - 1], [2**31, "text"]),
        ("UINT32", [2**32 - 1], [2**32]),
        ("STRING", ["text"], [1]),
    ],
)
def test_ids_of_sequences_are_of_the_models_kind(correlation: str | None, taken: list[Any], refused: list[Any]) -> None:
    """Triton does not check them: the model would see a part of the id, or of the memory beside it."""
    signature = ModelSignature("counter", {}, {}, sequence=True, correlation=correlation)
    for sequence_id in [*taken, *(random_sequence_id(signature) for _ in range(100))]:
        assert build_request(signature, {}, InferOptions(sequence_id=sequence_id)).sequence_id == sequence_id
    for sequence_id in refused:
        with pytest.raises(InvalidInput, match="sequence_id is"):
            build_request(signature, {}, InferOptions(sequence_id=sequence_id))


@pytest.mark.parametrize("datatype", ["UINT64", "STRING"])
def test_kind_of_the_id_stands_in_the_config(datatype: str) -> None:
    """At the model's control input of the kind CORRID."""
    control = {"kind": ModelSequenceBatching.Control.CONTROL_SEQUENCE_CORRID, "data_type": f"TYPE_{datatype}"}
    config = ModelConfig(sequence_batching={"control_input": [{"name": "any", "control": [control]}]})
    metadata = ModelMetadata("counter", ("1",), "", (), ())
    assert signature_of(metadata, config).correlation == datatype
    assert signature_of(metadata, ModelConfig(sequence_batching={})).correlation is None


def test_inputs_are_named() -> None:
    """A list of arrays says nothing about which is which."""
    with pytest.raises(InvalidInput, match="the inputs are a list; pass a dict"):
        build_request(ADD, [ONES], InferOptions())  # type: ignore[arg-type]  # the mistake that is tested


def test_at_least_one_request_in_flight() -> None:
    """Zero would wait for ever."""
    assert checked_in_flight(1) == 1
    with pytest.raises(InvalidInput, match="in_flight is 0"):
        checked_in_flight(0)
