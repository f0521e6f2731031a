"""What an ONNX model and its config.pbtxt must agree on."""

from __future__ import annotations

from modelyard_server.backend_support import checks
from modelyard_server.backend_support.batch_io import check_batch_io
from modelyard_server.backend_support.datatypes import BFLOAT16
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.parameters import bool_value
from modelyard_server.backend_support.signature import Signature

_RULES = (
    checks.refuse_implicit_state,
    checks.refuse_decoupled,
    checks.check_input_names,
    checks.check_output_names,
    checks.check_optional_inputs,
    checks.check_data_types,
    checks.check_input_shapes,
    checks.check_output_shapes,
    checks.check_sequence_controls,
)


def check_contract(config: ModelConfig, signature: Signature) -> None:
    """Holds a model to every rule of the container's onnxruntime backend.

    Raises:
        ModelLoadError: The first rule that is broken.
    """
    for rule in _RULES:
        rule(config, signature)
    check_batch_io(config)


def load_warnings(config: ModelConfig) -> list[str]:
    """What the container would do otherwise.

    Raises:
        ModelLoadError: `share_session_between_instances` is no boolean.
    """
    # https://github.com/triton-inference-server/server/issues/8464
    warnings = [
        f"'{tensor.name}' is {BFLOAT16}, which is served here, but which the onnxruntime backend of Triton's container "
        "refuses to load"
        for tensor in (*config.inputs, *config.outputs)
        if tensor.data_type == BFLOAT16
    ]
    if bool_value(config.parameters, "share_session_between_instances", default=False):
        warnings.append("share_session_between_instances has no effect here: each instance is a process of its own")
    return warnings
