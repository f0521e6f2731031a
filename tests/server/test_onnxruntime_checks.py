"""What config.pbtxt and an ONNX graph must agree on, rule by rule, on the signatures of real sessions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.signature import Signature
from modelyard_server.backends.onnxruntime.contract import check_contract, load_warnings
from modelyard_server.backends.onnxruntime.session import OnnxSession, glance_options
from modelyard_server.backends.onnxruntime.settings import session_settings
from support import onnx_models

X = {"name": "x", "data_type": "TYPE_FP32", "dims": [3]}
Y = {"name": "y", "data_type": "TYPE_FP32", "dims": [2]}


def signature_of(built: onnx.ModelProto, folder: Path) -> Signature:
    """What a real session says of the graph."""
    path = folder / "model.onnx"
    onnx.save(built, path)
    options = glance_options(session_settings(ModelConfig("m", 0), cores=1))
    return OnnxSession(path, "1/model.onnx", options).signature


@pytest.fixture
def matmul(tmp_path: Path) -> Signature:
    """Input x FP32 [-1,3], output y FP32 [-1,2]."""
    return signature_of(onnx_models.matmul(np.zeros((3, 2))), tmp_path)


def config(**changes: Any) -> ModelConfig:
    """The configuration that fits `matmul`, with changes."""
    return ModelConfig.from_dict({"name": "m", "max_batch_size": 8, "input": [X], "output": [Y], **changes})


def test_a_configuration_that_fits_is_accepted(matmul: Signature) -> None:
    """Nothing is refused that agrees with the graph."""
    check_contract(config(), matmul)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": [{**X, "name": "z"}]}, ("input 'z'", "1/model.onnx does not have", "'x'", "rename")),
        ({"input": [X, {**X, "name": "z"}]}, ("input 'z'", "1/model.onnx does not have")),
        ({"input": []}, ("needs input 'x' (TYPE_FP32 [-1,3])", "add it")),
        ({"output": [{**Y, "name": "z"}]}, ("output 'z'", "1/model.onnx does not have", "'y'")),
        ({"input": [{**X, "data_type": "TYPE_INT64"}]}, ("input 'x' is TYPE_INT64", "TYPE_FP32 in 1/model.onnx")),
        ({"output": [{**Y, "data_type": "TYPE_FP16"}]}, ("output 'y' is TYPE_FP16", "set data_type: TYPE_FP32")),
        ({"input": [{**X, "data_type": "TYPE_INVALID"}]}, ("input 'x'", "TYPE_INVALID", "expected one of")),
        ({"input": [{**X, "dims": [4]}]}, ("input 'x' has shape [-1,4]", "[-1,3]", "set dims: [ 3 ]")),
        ({"input": [{**X, "dims": [-1]}]}, ("input 'x' has shape [-1,-1]", "set dims: [ 3 ]")),
        ({"input": [{**X, "dims": [1, 3]}]}, ("input 'x' has shape [-1,1,3]", "set dims: [ 3 ]")),
        ({"output": [{**Y, "dims": [-1]}]}, ("output 'y' has shape [-1,-1]", "set dims: [ 2 ]")),
        ({"max_batch_size": 0}, ("input 'x' has shape [3]", "[-1,3]", "set dims: [ -1, 3 ]")),
        ({"input": [{**X, "optional": True}]}, ("input 'x' is optional", "max_batch_size: 0")),
        (
            {"max_batch_size": 0, "input": [{**X, "dims": [-1, 3], "optional": True}]},
            ("input 'x' is optional", "no value of its own"),
        ),
        ({"input": [{**X, "allow_ragged_batch": True}]}, ("input 'x' allows ragged", "must be [-1]", "is [-1,3]")),
        (
            {"sequence_batching": {"state": [{"input_name": "x", "output_name": "state"}]}},
            ("implicit state", "'state'", "silently wrong"),
        ),
        (
            {"sequence_batching": {"control_input": [{"name": "x", "control": [{"fp32_false_true": [0, 1]}]}]}},
            ("input 'x' is filled in by Triton", "list it once"),
        ),
        ({"model_transaction_policy": {"decoupled": True}}, ("decoupled", "remove it")),
        (
            {"sequence_batching": {"control_input": [{"name": "START", "control": [{"fp32_false_true": [0, 1]}]}]}},
            ("input 'START'", "1/model.onnx does not have"),
        ),
    ],
)
def test_a_contradiction_is_refused_with_the_tensor_and_the_mend(
    matmul: Signature, changes: Mapping[str, Any], words: tuple[str, ...]
) -> None:
    """Each rule of the container's backend, broken once: the message names tensor, found, expected and next step."""
    with pytest.raises(ModelLoadError) as refusal:
        check_contract(config(**changes), matmul)
    for word in words:
        assert word in str(refusal.value)


def test_inputs_may_be_narrower_than_the_graph_but_outputs_may_not(tmp_path: Path) -> None:
    """A graph's dynamic dimension may be fixed by config.pbtxt for an input, and must stay -1 for an output."""
    signature = signature_of(onnx_models.identity(TensorProto.FLOAT), tmp_path)
    check_contract(config(input=[X], output=[{**Y, "dims": [-1]}]), signature)
    with pytest.raises(ModelLoadError, match=r"output 'y' has shape \[-1,3\].* set dims: \[ -1 \]"):
        check_contract(config(input=[X], output=[{**Y, "dims": [3]}]), signature)


def test_a_fixed_first_dimension_cannot_batch(tmp_path: Path) -> None:
    """max_batch_size > 0 needs a graph whose first dimension is dynamic; the mend for both ways out is given."""
    signature = signature_of(onnx_models.identity(TensorProto.FLOAT, (1, 3)), tmp_path)
    with pytest.raises(ModelLoadError, match=r"'x' has shape \[1,3\].*max_batch_size: 0 and dims: \[ 1, 3 \]"):
        check_contract(config(), signature)


def test_a_tensor_that_is_the_batch_alone_needs_a_reshape(tmp_path: Path) -> None:
    """`dims: [1]` alone does not describe a [batch] tensor, and the mend is spelt out."""
    signature = signature_of(onnx_models.row_sums(), tmp_path)
    total = {"name": "sum", "data_type": "TYPE_FP32", "dims": [1]}
    check_contract(config(output=[{**total, "reshape": {"shape": []}}]), signature)
    with pytest.raises(ModelLoadError, match=r"reshape \{ shape: \[ \] \}"):
        check_contract(config(output=[total]), signature)


def test_a_scalar_is_written_as_one(tmp_path: Path) -> None:
    """A rank-0 tensor takes dims [1], and nothing else."""
    signature = signature_of(onnx_models.scalar_scale(), tmp_path)
    x, factor = {**X, "dims": [-1]}, {**X, "name": "factor", "dims": [1]}
    outputs = [{**Y, "dims": [-1]}, {**Y, "name": "total", "dims": [1]}]
    check_contract(config(max_batch_size=0, input=[x, factor], output=outputs), signature)
    with pytest.raises(ModelLoadError, match=r"input 'factor' is a scalar .* set dims: \[ 1 \]"):
        check_contract(config(max_batch_size=0, input=[x, {**factor, "dims": [2]}], output=outputs), signature)


def test_only_an_overridable_initializer_may_be_optional(tmp_path: Path) -> None:
    """An initializer that is also a graph input is optional: true, or is left out; anything else is refused."""
    signature = signature_of(onnx_models.overridable_offset(), tmp_path)
    x, offset = {**X, "dims": [-1]}, {**X, "name": "offset", "dims": [1]}
    fitting = {"max_batch_size": 0, "output": [{**Y, "dims": [-1]}]}
    check_contract(config(**fitting, input=[x, {**offset, "optional": True}]), signature)
    check_contract(config(**fitting, input=[x]), signature)
    with pytest.raises(ModelLoadError, match=r"input 'offset' has a value .* set optional: true"):
        check_contract(config(**fitting, input=[x, offset]), signature)


def test_sequence_controls_are_checked_for_shape_and_type(tmp_path: Path) -> None:
    """A control input has the shape [1] after the batch, and the type that its values or data_type say."""
    signature = signature_of(onnx_models.sequence_echo(), tmp_path)
    start = {"name": "start", "control": [{"kind": "CONTROL_SEQUENCE_START", "fp32_false_true": [0, 1]}]}
    corrid = {"name": "corrid", "control": [{"kind": "CONTROL_SEQUENCE_CORRID", "data_type": "TYPE_UINT64"}]}
    x, out = {**X, "dims": [1]}, [{**Y, "name": "x_out", "dims": [1]}]
    check_contract(config(input=[x], output=out, sequence_batching={"control_input": [start, corrid]}), signature)
    wrong = {"name": "start", "control": [{"kind": "CONTROL_SEQUENCE_START", "int32_false_true": [0, 1]}]}
    with pytest.raises(ModelLoadError, match=r"sequence control 'start' is TYPE_INT32 .* TYPE_FP32"):
        check_contract(config(input=[x], output=out, sequence_batching={"control_input": [wrong, corrid]}), signature)


def test_a_control_of_another_shape_is_refused(matmul: Signature) -> None:
    """A graph whose control input is not [1] cannot be driven by Triton's sequence batcher."""
    control = {"control_input": [{"name": "x", "control": [{"fp32_false_true": [0, 1]}]}]}
    with pytest.raises(ModelLoadError, match=r"sequence control 'x' has shape \[3\].*expected \[1\]"):
        check_contract(config(input=[], sequence_batching=control), matmul)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"kind": "BATCH_NONSENSE"}, "kind is 'BATCH_NONSENSE', expected one of"),
        ({"data_type": "TYPE_INT64"}, "'ends' is TYPE_INT64"),
        ({"source_input": ["z"]}, "source_input is 'z', expected one of x"),
        ({"target_name": ["z"]}, "input 'z', which 1/model.onnx does not have"),
    ],
)
def test_batch_inputs_are_checked(tmp_path: Path, entry: Mapping[str, Any], words: str) -> None:
    """A batch_input entry that cannot be made is refused when the model loads, not with the first request."""
    signature = signature_of(onnx_models.ragged(), tmp_path)
    whole = {"kind": "BATCH_ELEMENT_COUNT", "target_name": ["ends"], "data_type": "TYPE_INT32", "source_input": ["x"]}
    x, out = {**X, "dims": [-1], "allow_ragged_batch": True}, [{**Y, "name": "doubled", "dims": [-1]}]
    scatter = [{"kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "target_name": ["doubled"], "source_input": ["x"]}]
    check_contract(config(input=[x], output=out, batch_input=[whole], batch_output=scatter), signature)
    with pytest.raises(ModelLoadError) as refusal:
        check_contract(config(input=[x], output=out, batch_input=[{**whole, **entry}], batch_output=scatter), signature)
    assert words in str(refusal.value)


def test_a_type_that_triton_does_not_have_is_refused(tmp_path: Path) -> None:
    """A sequence at the graph's end has no Triton data type: the message names it."""
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    built = onnx_models.model(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [onnx_models.tensor("x", TensorProto.FLOAT, ("n",))],
        [output],
    )
    with pytest.raises(ModelLoadError, match=r"'y' of 1/model.onnx is a seq\(tensor\(float\)\)"):
        signature_of(built, tmp_path)


def test_what_the_container_does_otherwise_is_a_warning() -> None:
    """bfloat16 and a shared session load here, and the log says what the container makes of them."""
    shared = {"share_session_between_instances": {"string_value": "True"}}
    warnings = load_warnings(config(input=[{**X, "data_type": "TYPE_BF16"}], parameters=shared))
    assert "'x' is TYPE_BF16" in warnings[0]
    assert "share_session_between_instances" in warnings[1]
    assert load_warnings(config()) == []
