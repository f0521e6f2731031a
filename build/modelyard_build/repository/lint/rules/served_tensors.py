"""MY214 to MY219, MY221 and MY222: what each backend serves of inputs and outputs."""

from __future__ import annotations

from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.tensor_texts import INVALID, dtype_name, may_be_completed, stated_tensors
from modelyard_build.repository.lint.rules.values import parameter
from modelyard_build.repository.lint.subjects import Config

_DTYPES = {
    "openvino": "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32",
    "pytorch": "BOOL UINT8 INT8 INT16 INT32 INT64 FP16 FP32 FP64 STRING",
}


@rule(
    "MY214",
    Severity.ERROR,
    summary="a data_type that the backend does not serve",
    mend="Convert in the model, and state a type that the backend has.",
    verdict=Verdict.REFUSES,
)
def data_type_not_served(config: Config) -> Findings:
    """Triton has more types than OpenVINO and PyTorch share with it.

    The openvino backend has no strings, no FP64 and no BF16; the pytorch backend no unsigned types but UINT8, and no
    BF16.
    """
    served = [f"TYPE_{name}" for name in _DTYPES.get(config.backend, "").split()]
    if not served:
        return
    for tensor in stated_tensors(config):
        dtype = dtype_name(tensor.message.data_type)
        if tensor.message.data_type != INVALID and dtype not in served:
            yield config.raised(
                f"{tensor} is {dtype}, which the {config.backend} backend does not serve; it has {', '.join(served)}",
                *tensor.path,
                "data_type",
            )


@rule(
    "MY215",
    Severity.ERROR,
    summary="TYPE_BF16 for the onnxruntime backend",
    mend="Convert to FP32 or FP16 at the ends of the model; inside, bfloat16 is fine.",
    verdict=Verdict.UNSEEN,
)
def bfloat16_for_onnxruntime(config: Config) -> Findings:
    """The onnxruntime backend of NVIDIA's container refuses bfloat16 inputs and outputs.

    The embedded Triton serves them, so that this is seen on the day of the deployment
    ([server#8464](https://github.com/triton-inference-server/server/issues/8464)).
    """
    if config.backend != "onnxruntime":
        return
    for tensor in stated_tensors(config):
        if dtype_name(tensor.message.data_type) == "TYPE_BF16":
            yield config.raised(
                f"{tensor} is TYPE_BF16, which the onnxruntime backend of NVIDIA's container refuses; cast to FP32 at "
                "the ends of the model",
                *tensor.path,
                "data_type",
            )


@rule(
    "MY216",
    Severity.ERROR,
    summary="a pytorch model whose inputs or outputs are not listed",
    mend="List every input and output with name, data_type and dims.",
    verdict=Verdict.REFUSES,
)
def pytorch_lists_nothing(config: Config) -> Findings:
    """A PyTorch model tells neither types nor shapes, so that nothing can be completed."""
    if config.backend != "pytorch":
        return
    for kind in ("input", "output"):
        if not getattr(config.message, kind):
            yield config.raised(f"no {kind} is listed, and a PyTorch model does not tell its own; list every {kind}")


@rule(
    "MY217",
    Severity.ERROR,
    summary="a pytorch string tensor of more than one dimension",
    mend="Write dims: [ 1 ] reshape { shape: [ ] } with batching, dims: [ -1 ] without.",
    verdict=Verdict.REFUSES,
)
def pytorch_strings_of_one_dimension(config: Config) -> Findings:
    """PyTorch takes strings as `List[str]`, which has one dimension; where the model batches, that is the batch."""
    if config.backend != "pytorch":
        return
    batches = config.message.max_batch_size > 0
    for tensor in stated_tensors(config):
        rank = len(tensor.shape) + batches
        if dtype_name(tensor.message.data_type) == "TYPE_STRING" and tensor.message.dims and rank > 1:
            mend = "dims: [ 1 ] reshape { shape: [ ] }" if batches else "dims: [ -1 ]"
            yield config.raised(
                f"{tensor} is TYPE_STRING and has {rank} dimensions{' with the batch' * batches}, expected one; "
                f"write {mend}",
                *tensor.path,
                "dims",
            )


@rule(
    "MY218",
    Severity.ERROR,
    summary="optional: true where the backend needs every input",
    mend="Remove optional: true.",
    verdict=Verdict.REFUSES,
)
def optional_not_served(config: Config) -> Findings:
    """An engine, a PyTorch module and an OpenVINO model need all of their inputs; onnxruntime while it batches, too.

    An ONNX model may have defaults (initializers) for inputs, and these are served with `max_batch_size: 0` only.
    """
    backend, size = config.backend, config.message.max_batch_size
    if backend in ("openvino", "pytorch", "tensorrt", "tensorrt_rtx"):
        why = f"which the {backend} backend does not serve; remove it"
    elif backend == "onnxruntime" and size > 0:
        why = f"and max_batch_size is {size}; optional inputs need max_batch_size: 0"
    else:
        return
    for tensor in stated_tensors(config):
        if tensor.kind == "input" and tensor.message.optional:
            yield config.raised(f"{tensor} is optional, {why}", *tensor.path, "optional")


@rule(
    "MY219",
    Severity.ERROR,
    summary="a field of tensors that the openvino backend does not serve",
    mend="Remove the field, or serve the model with another backend.",
    verdict=Verdict.REFUSES,
)
def field_not_served_by_openvino(config: Config) -> Findings:
    """The openvino backend hands over the inputs of the requests, joined along the batch, and nothing else.

    Ragged batches, `batch_input`, `batch_output` and the controls of a sequence never reach the model.
    """
    if config.backend != "openvino":
        return
    for tensor in stated_tensors(config):
        if tensor.kind == "input" and tensor.message.allow_ragged_batch:
            path = (*tensor.path, "allow_ragged_batch")
            yield config.raised(f"{tensor} has allow_ragged_batch, which openvino does not serve; remove it", *path)
    for field in ("batch_input", "batch_output"):
        if any(entry.target_name for entry in getattr(config.message, field)):
            yield config.raised(f"{field} is not served by the openvino backend; remove it", field)
    if config.message.sequence_batching.control_input:
        yield config.raised(
            "control_input is not served by the openvino backend; remove it", "sequence_batching", "control_input"
        )


@rule(
    "MY221",
    Severity.WARNING,
    summary="a Python model without inputs or without outputs",
    mend="List them, or complete them in auto_complete_config.",
    verdict=Verdict.LOADS,
)
def python_lists_nothing(config: Config) -> Findings:
    """The model loads, and Triton takes the missing list for an empty one.

    It says `expected 0 inputs but got 1 inputs for model …` to every request that has an input.
    """
    if config.backend != "python" or may_be_completed(config):
        return
    for kind in ("input", "output"):
        if not getattr(config.message, kind):
            yield config.raised(f"no {kind} is listed, so no request may have any; list every {kind}")


@rule(
    "MY222",
    Severity.WARNING,
    summary="an OpenVINO model that serves whole batches only",
    mend="Set the parameter ENABLE_BATCH_PADDING to YES, or max_batch_size to 0 or 1.",
    verdict=Verdict.LOADS,
)
def openvino_serves_whole_batches(config: Config) -> Findings:
    """The openvino backend compiles a model for exactly `max_batch_size` items and refuses fewer.

    With `ENABLE_BATCH_PADDING` it takes fewer, too.
    """
    size = config.message.max_batch_size
    padding = parameter(config, "ENABLE_BATCH_PADDING")
    if config.backend == "openvino" and size > 1 and padding.lower() != "yes":
        yield config.raised(
            f"max_batch_size is {size}, and without the parameter ENABLE_BATCH_PADDING: YES every batch of fewer "
            f"than {size} is refused",
            "max_batch_size",
        )
