"""What a config.pbtxt must say for a PyTorch model, which itself tells no shapes and no data types.

The rules are those of triton-inference-server/pytorch_backend (`ValidateInputs`, `ValidateOutputs`). What that backend
loads and then fails to serve is refused here when the model loads.
"""

from __future__ import annotations

from modelyard_server.backend_support import checks
from modelyard_server.backend_support.batch_io import check_batch_io
from modelyard_server.backend_support.datatypes import STRING
from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig, TensorConfig
from modelyard_server.backend_support.signature import ArtefactTensor, Signature

# Those that PyTorch and Triton share, in the container's backend.
DATA_TYPES = {
    "TYPE_BOOL": "bool",
    "TYPE_UINT8": "uint8",
    "TYPE_INT8": "int8",
    "TYPE_INT16": "int16",
    "TYPE_INT32": "int32",
    "TYPE_INT64": "int64",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float32",
    "TYPE_FP64": "float64",
}


def declared_signature(config: ModelConfig, artefact: str) -> Signature:
    """The tensors as config.pbtxt declares them."""
    return Signature(
        artefact,
        {tensor.name: _declared(tensor, config) for tensor in config.inputs},
        {tensor.name: _declared(tensor, config) for tensor in config.outputs},
    )


def check_config(config: ModelConfig, artefact: str) -> None:
    """Holds a configuration to every rule that needs no look into the model.

    Raises:
        ModelLoadError: The first rule that is broken.
    """
    signature = declared_signature(config, artefact)
    checks.refuse_implicit_state(config, signature)
    checks.refuse_decoupled(config, signature)
    _check_listed(config, artefact)
    for kind, tensors in (("input", config.inputs), ("output", config.outputs)):
        for tensor in tensors:
            _check_tensor(kind, tensor, config)
    check_batch_io(config)


def check_archive_config(config: ModelConfig) -> None:
    """What the container's backend serves of TorchScript, and not of PT2 archives.

    Raises:
        ModelLoadError: The configuration asks for it.
    """
    if "sequence_batching" in config.raw:
        raise ModelLoadError("a PT2 archive serves no sequence_batching, in the container neither: remove it")
    for tensor in (*config.inputs, *config.outputs):
        if tensor.data_type == STRING:
            raise ModelLoadError(
                f"'{tensor.name}' is {STRING}, which a PT2 archive does not take: send numbers instead"
            )


def archive_warnings(config: ModelConfig) -> list[str]:
    """What the container would do otherwise with a PT2 archive."""
    warnings = [
        'a PT2 archive is served by the container of Triton 26.03 or later, under platform: "torch_aoti", which this '
        "Triton does not know"
    ]
    if config.max_batch_size > 1:
        warnings.append(
            "Triton's container documents batches as not yet complete for PT2 archives: max_batch_size "
            f"{config.max_batch_size} may not work there"
        )
    return warnings


def _declared(tensor: TensorConfig, config: ModelConfig) -> ArtefactTensor:
    return ArtefactTensor(tensor.data_type, (-1, *tensor.shape) if config.batches else tensor.shape)


def _check_listed(config: ModelConfig, artefact: str) -> None:
    for field, tensors in (("input", config.inputs), ("output", config.outputs)):
        if not tensors:
            raise ModelLoadError(
                f"config.pbtxt lists no {field}, and {artefact} does not tell names, types and shapes, so that nothing "
                f"is completed: list every {field} with name, data_type and dims"
            )


def _check_tensor(kind: str, tensor: TensorConfig, config: ModelConfig) -> None:
    if tensor.data_type not in (*DATA_TYPES, STRING):
        raise ModelLoadError(
            f"{kind} '{tensor.name}' has data_type {tensor.data_type}, which the pytorch backend does not serve, "
            f"expected one of {', '.join(sorted((*DATA_TYPES, STRING)))}"
        )
    if tensor.data_type == STRING and len(tensor.shape) + config.batches > 1:
        batch = ", and with max_batch_size the batch is that dimension: dims: [ 1 ] reshape { shape: [ ] }"
        raise ModelLoadError(
            f"{kind} '{tensor.name}' is {STRING}, for which the pytorch backend serves one dimension (List[str])"
            f"{batch if config.batches else ': dims: [ -1 ]'}"
        )
    if tensor.optional:
        raise ModelLoadError(f"{kind} '{tensor.name}' is optional, which the pytorch backend does not serve: remove it")
