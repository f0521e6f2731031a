"""What an OpenVINO model and its config.pbtxt must agree on.

The rules are those of triton-inference-server/openvino_backend (`ValidateInputs`, `ValidateOutputs`,
`CompareDimsSupported`). What that backend loads and then fails to serve is refused here when the model loads.
"""

from __future__ import annotations

from modelyard_server.backend_support import checks
from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig, TensorConfig
from modelyard_server.backend_support.signature import Signature, show_dims
from modelyard_server.backends.openvino.graph import ELEMENT_TYPES, Dimensions
from modelyard_server.backends.openvino.settings import Settings


def check_contract(config: ModelConfig, signature: Signature) -> None:
    """Holds a model to every rule but those of shapes, which need the model prepared.

    Raises:
        ModelLoadError: The first rule that is broken.
    """
    for rule in _RULES:
        rule(config, signature)


def check_input_dims(config: ModelConfig, tensor: TensorConfig, found: Dimensions, artefact: str) -> None:
    """Where the model's size is dynamic, config.pbtxt may name one; where a model batches, -1 fits any size.

    Raises:
        ModelLoadError: The number of dimensions or a size differs.
    """
    wanted = (-1, *tensor.shape) if config.batches else tensor.shape
    open_places = range(len(wanted)) if config.batches else range(0)
    fits = len(wanted) == len(found) and all(
        (place in open_places and size == -1) or dimension.admits(size)
        for place, (size, dimension) in enumerate(zip(wanted, found, strict=True))
    )
    if not fits:
        raise _shape_refusal("input", config, tensor, wanted, found, artefact)


def check_output_dims(config: ModelConfig, tensor: TensorConfig, found: Dimensions, artefact: str) -> None:
    """A size that the model fixes is the one of config.pbtxt; a batch is `max_batch_size` long.

    Raises:
        ModelLoadError: The number of dimensions or a size differs.
    """
    wanted = (config.max_batch_size, *tensor.shape) if config.batches else tensor.shape
    if len(wanted) != len(found) or not all(
        dimension.admits(size) for size, dimension in zip(wanted, found, strict=True)
    ):
        raise _shape_refusal("output", config, tensor, wanted, found, artefact)


def check_kind(kind: str) -> None:
    """The container's backend runs KIND_CPU alone.

    Raises:
        ModelLoadError: The instance is placed elsewhere.
    """
    if kind != "CPU":
        raise ModelLoadError(
            f"this instance is KIND_{kind}, and the openvino backend supports KIND_CPU only: set "
            "instance_group [ { kind: KIND_CPU } ]"
        )


def load_warnings(config: ModelConfig, settings: Settings) -> list[str]:
    """What the author of a config.pbtxt may have meant otherwise."""
    warnings = [
        f"parameter '{key}' is '{config.parameters[key]}', which counts as not set: only YES turns it on"
        for key in settings.ignored
    ]
    if config.max_batch_size > 1 and not settings.batch_padding:
        warnings.append(
            f"without the parameter ENABLE_BATCH_PADDING this model serves batches of exactly {config.max_batch_size} "
            "items, and refuses smaller ones"
        )
    return warnings


def _check_data_types(config: ModelConfig, _: Signature) -> None:
    """The backend converts, so that any type will do that OpenVINO and Triton share."""
    for kind, tensors in (("input", config.inputs), ("output", config.outputs)):
        for tensor in tensors:
            if tensor.data_type not in ELEMENT_TYPES:
                raise ModelLoadError(
                    f"{kind} '{tensor.name}' has data_type {tensor.data_type}, which the openvino backend does not "
                    f"serve, expected one of {', '.join(sorted(ELEMENT_TYPES))}"
                )


def _refuse_what_is_not_passed_on(config: ModelConfig, _: Signature) -> None:
    """The container's backend hands a model the inputs of the requests, joined along the batch, and nothing else."""
    unserved = {
        "sequence_batching.control_input": [control.name for control in config.controls],
        "batch_input": [target for entry in config.batch_inputs for target in entry.targets],
        "batch_output": [target for entry in config.batch_outputs for target in entry.targets],
        "optional: true": [tensor.name for tensor in config.inputs if tensor.optional],
        "allow_ragged_batch: true": [tensor.name for tensor in config.inputs if tensor.ragged],
    }
    for field, names in unserved.items():
        if names:
            raise ModelLoadError(f"the openvino backend does not serve {field} ('{names[0]}'): remove it")


_RULES = (
    checks.refuse_implicit_state,
    checks.refuse_decoupled,
    _refuse_what_is_not_passed_on,
    checks.check_input_names,
    checks.check_output_names,
    _check_data_types,
)


def _shape_refusal(
    kind: str, config: ModelConfig, tensor: TensorConfig, wanted: tuple[int, ...], found: Dimensions, artefact: str
) -> ModelLoadError:
    own = found[1:] if config.batches else found
    batch = f" (the batch of max_batch_size {config.max_batch_size}, then its dims)" if config.batches else ""
    return ModelLoadError(
        f"{kind} '{tensor.name}' has shape {show_dims(wanted)} in config.pbtxt{batch} and "
        f"[{','.join(str(each) for each in found)}] in {artefact}: set dims: "
        f"[ {', '.join(str(each.size) for each in own)} ]"
    )
