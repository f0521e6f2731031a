"""MY234 to MY240: dims and batches of config.pbtxt against those of each served version's artefact.

The checks are those of `CompareDimsSupported` in triton-inference-server/{onnxruntime,openvino,tensorrt}_backend.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.headers import (
    ENGINES,
    SIGNED,
    Header,
    headers,
    largest_batch,
    once,
    replaced,
    served_profiles,
)
from modelyard_build.repository.lint.rules.tensor_texts import VARIABLE, Stated, brackets, stated_tensors
from modelyard_build.repository.lint.rules.values import parameter
from modelyard_build.repository.lint.subjects import Config

# What the onnxruntime backend makes of max_batch_size 0 where it completes it.
COMPLETED_BATCH = 4


@rule(
    "MY223",
    Severity.ERROR,
    summary="an OpenVINO model whose inputs or outputs cannot be completed",
    mend="List every input and output with name, data_type and dims.",
    verdict=Verdict.REFUSES,
)
def openvino_cannot_complete(config: Config) -> Findings:
    """Where config.pbtxt lists none, the openvino backend takes them out of the model, if it can.

    It cannot where some sizes of a tensor vary and others do not; with all of them fixed, or all of them open, it can.
    """
    for kind in ("input", "output"):
        if not getattr(config.message, kind):
            yield from once(_incomplete(header, kind) for header in headers(config, ("openvino",)))


@rule(
    "MY234",
    Severity.ERROR,
    summary="dims include the batch",
    mend="Leave the batch out of dims: max_batch_size adds it; `--fix` does.",
    verdict=Verdict.REFUSES,
)
def dims_include_the_batch(config: Config) -> Findings:
    """With `max_batch_size` above 0 Triton puts the batch in front of the dims of every tensor.

    `dims: [ -1, 384 ]` is then a tensor of three dimensions. The container says `model '…', tensor 'x': the model
    expects 2 dimensions (shape [-1,384]) but the model configuration specifies 3 dimensions (an initial batch dimension
    because max_batch_size > 0 followed by the explicit tensor shape, making complete shape [-1,-1,384])`.
    """
    return once(_with_batch(header) for header in headers(config, SIGNED))


@rule(
    "MY235",
    Severity.ERROR,
    summary="dims are not the artefact's",
    mend="Write the artefact's dims; `--fix` does where there is one answer.",
    verdict=Verdict.REFUSES,
)
def dims_differ(config: Config) -> Findings:
    """The number of dimensions and every fixed size must be the artefact's.

    Where the artefact's size varies, an input of config.pbtxt may name one. The container says `model '…', tensor 'x':
    the model expects 2 dimensions (shape [-1,4]) but the model configuration specifies …`.
    """
    return once(_dims(header) for header in headers(config, SIGNED))


@rule(
    "MY236",
    Severity.ERROR,
    summary="max_batch_size above 0 for a graph whose batch is fixed",
    mend="Export the model with a dynamic batch axis, or set max_batch_size: 0 and write all dims.",
    verdict=Verdict.REFUSES,
)
def batch_is_fixed(config: Config) -> Findings:
    """A model batches where the first size of each of its tensors varies; an export by an example of one item fixes it.

    The container says `model '…', tensor 'x': for the model to support batching the shape should have at least 1
    dimension and the first dimension must be -1; but shape expected by the model is [1,4]`.
    """
    return once(_fixed_batch(header) for header in headers(config, ("onnxruntime",)))


@rule(
    "MY237",
    Severity.WARNING,
    summary="an output's dims are not those that the graph declares",
    mend="Write the graph's, -1 where it has -1; or export the model with the shape that its outputs have.",
    verdict=Verdict.REFUSES,
)
def output_is_not_as_declared(config: Config) -> Findings:
    """Outputs must match the graph exactly, -1 included; only inputs may be narrower.

    ONNX Runtime works out sizes that the file leaves open, and opens those where the file contradicts the operators;
    then, and only then, the model loads.
    """
    return once(_undeclared(header) for header in headers(config, ("onnxruntime",)))


@rule(
    "MY238",
    Severity.ERROR,
    summary="max_batch_size is above the engine's profile",
    mend="Lower max_batch_size to the profile's, or build the engine for more.",
    verdict=Verdict.UNSEEN,
)
def batch_above_profile(config: Config) -> Findings:
    """An engine takes at most the largest batch of the optimization profiles that are served.

    Without `profile` TensorRT serves profile 0 alone; TensorRT-RTX serves all of the engine's.
    """
    return once(_above_profile(header) for header in headers(config, ENGINES))


@rule(
    "MY239",
    Severity.WARNING,
    summary="a model that could batch is served without batches",
    mend="Set max_batch_size, take the first -1 out of every dims, and add dynamic_batching { }.",
    verdict=Verdict.LOADS,
)
def served_without_batches(config: Config) -> Findings:
    """With `max_batch_size: 0`, or none, Triton joins no requests, whatever else the config asks for.

    Every tensor of the artefact has a first size that varies, as a batch has.
    """
    return once(_not_batched(header) for header in headers(config, ("onnxruntime", *ENGINES)))


@rule(
    "MY240",
    Severity.WARNING,
    summary="max_batch_size is left to be completed",
    mend="List inputs and outputs, and state max_batch_size and dynamic_batching.",
    verdict=Verdict.LOADS,
)
def batch_is_completed(config: Config) -> Findings:
    """Where inputs or outputs are left out, the backend completes them, and `max_batch_size` with them.

    onnxruntime makes it 4, TensorRT the profile's largest, and both turn dynamic batching on. `--backend-config` or a
    server with `--disable-auto-complete-config` does otherwise, so that one repository is served in two ways.
    """
    return once(_completed(header) for header in headers(config, ("onnxruntime", *ENGINES)))


def _comparable(header: Header) -> Iterator[tuple[Stated, tuple[int, ...]]]:
    """Each tensor whose shape a backend holds against the artefact's, with that one."""
    if header.batch is None or _reshapes(header.config):
        return
    scattered = {name for entry in header.config.message.batch_output for name in entry.target_name}
    for tensor in stated_tensors(header.config):
        found = header.find(tensor)
        if found is None or found.shape is None or not tensor.message.dims:
            continue
        if tensor.kind == "input" and tensor.message.allow_ragged_batch:
            continue
        if tensor.kind == "output" and tensor.name in scattered:
            continue
        if all(size >= 1 or size == VARIABLE for size in tensor.shape):
            yield tensor, found.shape


def _reshapes(config: Config) -> bool:
    """Whether the openvino backend gives the model the dims of the config first."""
    return config.backend == "openvino" and parameter(config, "RESHAPE_IO_LAYERS").lower() == "yes"


class _Judgement(enum.Enum):
    """What becomes of a tensor's dims."""

    FITS = "fits"
    REFUSED = "refused"
    # The file does not tell all that the runtime will know.
    DOUBTFUL = "doubtful"


def _with_batch(header: Header) -> Iterator[Raised]:
    for tensor, found in _comparable(header):
        if _includes_batch(header, tensor, found):
            dims = tuple(tensor.message.dims)
            path = (*tensor.path, "dims")
            yield header.config.raised(
                f"{tensor} has dims {brackets(dims)}, and max_batch_size {header.config.message.max_batch_size} puts "
                f"the batch in front; {header.title} has {brackets(found)}: write dims: {brackets(found[1:])}",
                *path,
                fix=replaced(header.config, path, brackets(found[1:])),
            )


def _includes_batch(header: Header, tensor: Stated, found: tuple[int, ...]) -> bool:
    if not header.batches or tensor.message.HasField("reshape") or len(found) < 2:
        return False
    same_rank = len(tensor.message.dims) == len(found)
    return same_rank and _judge(header, tensor, found) is _Judgement.REFUSED and not _batch_fixed(header, found)


def _batch_fixed(header: Header, found: tuple[int, ...]) -> bool:
    fixed = bool(found) and found[0] != VARIABLE
    return header.batches and fixed and header.config.backend == "onnxruntime"


def _dims(header: Header) -> Iterator[Raised]:
    for tensor, found in _comparable(header):
        if _batch_fixed(header, found) or _includes_batch(header, tensor, found):
            continue
        if _judge(header, tensor, found) is _Judgement.REFUSED:
            yield _dims_finding(header, tensor, found)


def _judge(header: Header, tensor: Stated, found: tuple[int, ...]) -> _Judgement:
    full = (VARIABLE, *tensor.shape) if header.batches else tensor.shape
    judges = {"onnxruntime": _judge_onnx, "openvino": _judge_openvino}
    return judges.get(header.config.backend, _judge_engine)(header, tensor, full, found)


def _judge_onnx(header: Header, tensor: Stated, full: tuple[int, ...], found: tuple[int, ...]) -> _Judgement:
    if not found:
        return _judgement(all(size == 1 for size in tensor.shape))
    if tensor.kind == "input":
        pairs = zip(full, found, strict=False)
        return _judgement(len(full) == len(found) and all(theirs in (mine, VARIABLE) for mine, theirs in pairs))
    if full == found:
        return _Judgement.FITS
    # ONNX Runtime makes a scalar of a rank that its operators contradict, and -1 of such a size.
    if len(full) != len(found):
        return _Judgement.REFUSED if any(size != 1 for size in tensor.shape) else _Judgement.DOUBTFUL
    other = any(mine != theirs and VARIABLE not in (mine, theirs) for mine, theirs in zip(full, found, strict=True))
    return _Judgement.REFUSED if other else _Judgement.DOUBTFUL


def _judge_openvino(header: Header, tensor: Stated, full: tuple[int, ...], found: tuple[int, ...]) -> _Judgement:
    # The batch is set to what the config says; an input of a model that batches may leave sizes open.
    lenient = header.batches and tensor.kind == "input"
    pairs = list(zip(full, found, strict=False))[header.batches :]
    fits = all(theirs in (mine, VARIABLE) or (lenient and mine == VARIABLE) for mine, theirs in pairs)
    return _judgement(len(full) == len(found) and fits)


def _judge_engine(header: Header, tensor: Stated, full: tuple[int, ...], found: tuple[int, ...]) -> _Judgement:
    pairs = zip(full, found, strict=False)
    return _judgement(len(full) == len(found) and all(VARIABLE in pair or pair[0] == pair[1] for pair in pairs))


def _judgement(fits: bool) -> _Judgement:
    return _Judgement.FITS if fits else _Judgement.REFUSED


def _dims_finding(header: Header, tensor: Stated, found: tuple[int, ...]) -> Raised:
    config, dims = header.config, tuple(tensor.message.dims)
    path = (*tensor.path, "dims")
    if tensor.message.HasField("reshape"):
        stated = f"reshape {brackets(tensor.shape)}"
        return config.raised(
            f"{tensor} has {stated}, {header.title} has {brackets(found)}{_behind(header)}; write the reshape so",
            *tensor.path,
            "reshape",
        )
    wanted = found[1:] if header.batches else found
    fix = replaced(config, path, brackets(wanted)) if wanted else ()
    return config.raised(
        f"{tensor} has dims {brackets(dims)}, {header.title} has {brackets(found)}{_behind(header)}; write "
        f"{_dims_text(wanted)}",
        *path,
        fix=fix,
    )


def _behind(header: Header) -> str:
    size = header.config.message.max_batch_size
    return f" with the batch of max_batch_size {size}" if header.batches else ", and max_batch_size is 0"


def _dims_text(wanted: tuple[int, ...]) -> str:
    return f"dims: {brackets(wanted)}" if wanted else "dims: [ 1 ], with reshape { shape: [ ] } where it batches"


def _incomplete(header: Header, kind: str) -> Iterator[Raised]:
    tensors = header.inputs if kind == "input" else header.outputs
    for name, tensor in tensors.items():
        sizes = tensor.shape or ()
        if VARIABLE in sizes and set(sizes) != {VARIABLE}:
            yield header.config.raised(
                f"no {kind} is listed, and {brackets(sizes)} of {name!r} in {header.title} varies in part, which "
                f"nothing completes; list every {kind}"
            )
            return


def _fixed_batch(header: Header) -> Iterator[Raised]:
    message = header.config.message
    if not header.batches:
        return
    if header.is_completed:
        optional = header.artefact.optional_inputs
        inputs = [tensor for tensor in header.inputs.values() if tensor.name not in optional]
        shapes = [(f"input {tensor.name!r}", tensor.shape) for tensor in inputs if tensor.shape is not None]
    else:
        shapes = [(str(tensor), found) for tensor, found in _comparable(header) if tensor.kind == "input" and found]
    fixed = [(name, shape) for name, shape in shapes if shape[:1] != (VARIABLE,)]
    if fixed:
        name, shape = fixed[0]
        yield header.config.raised(
            f"max_batch_size is {message.max_batch_size}, and {name} of {header.title} is {brackets(shape)}, whose "
            "first size does not vary; export it with a dynamic batch axis, or set max_batch_size: 0 and write "
            f"{_dims_text(shape)}",
            "max_batch_size",
        )


def _undeclared(header: Header) -> Iterator[Raised]:
    inputs_are_fixed = any(_fixed_batch(header))
    if header.batches and header.is_completed and not inputs_are_fixed:
        for output in header.outputs.values():
            if output.shape is not None and output.shape[:1] != (VARIABLE,):
                yield _fixed_output(header, f"output {output.name!r}", output.shape, "max_batch_size")
    for tensor, found in _comparable(header):
        if tensor.kind != "output":
            continue
        if _batch_fixed(header, found):
            if not inputs_are_fixed and not header.is_completed:
                yield _fixed_output(header, str(tensor), found, *tensor.path, "dims")
        elif _judge(header, tensor, found) is _Judgement.DOUBTFUL:
            yield _doubtful_output(header, tensor, found)


def _fixed_output(header: Header, name: str, found: tuple[int, ...], *path: str | int) -> Raised:
    return header.config.raised(
        f"{name} is behind the batch of max_batch_size {header.config.message.max_batch_size}, and {header.title} "
        f"declares {brackets(found)}, whose first size does not vary; export the model with a dynamic batch axis at "
        "its outputs, too",
        *path,
    )


def _doubtful_output(header: Header, tensor: Stated, found: tuple[int, ...]) -> Raised:
    wanted = found[1:] if header.batches else found
    path = (*tensor.path, "dims")
    fix = () if tensor.message.HasField("reshape") or not wanted else replaced(header.config, path, brackets(wanted))
    return header.config.raised(
        f"{tensor} has dims {brackets(tuple(tensor.message.dims))}, and {header.title} declares "
        f"{brackets(found)}{_behind(header)}; an output must be the same, -1 included: write {_dims_text(wanted)}",
        *path,
        fix=fix,
    )


def _above_profile(header: Header) -> Iterator[Raised]:
    size = header.config.message.max_batch_size
    for served in served_profiles(header):
        most = largest_batch(served)
        if most is not None and size > most:
            yield header.config.raised(
                f"max_batch_size is {size}, and the optimization profile of {header.title} takes at most {most}; write "
                f"max_batch_size: {most}, or build the engine for more",
                "max_batch_size",
                fix=replaced(header.config, ("max_batch_size",), str(most)) if most > 0 else (),
            )
            return


def _not_batched(header: Header) -> Iterator[Raised]:
    message = header.config.message
    if header.batch != 0 or header.is_completed or message.HasField("sequence_batching"):
        return
    ranks = [len(tensor.shape or ()) for tensor in (*header.inputs.values(), *header.outputs.values())]
    # A tensor of one dimension varies in its length, not in its batch.
    if header.artefact.optional_inputs or not header.could_batch or min(ranks) < 2:
        return
    stated = "max_batch_size is 0" if header.config.states("max_batch_size") else "max_batch_size is left out"
    yield header.config.raised(
        f"{stated}, and every tensor of {header.title} has a first size that varies; without it requests are never "
        "joined: set it, take the first -1 out of every dims, and add dynamic_batching { }",
        *(("max_batch_size",) if header.config.states("max_batch_size") else ("input", 0, "dims")),
    )


def _completed(header: Header) -> Iterator[Raised]:
    config = header.config
    if config.message.max_batch_size:
        return
    size = COMPLETED_BATCH if header.batch is None else header.batch
    if size:
        yield config.raised(
            f"max_batch_size is left to be completed: it becomes {size} and dynamic batching turns on, so that dims "
            f"are without the batch; state max_batch_size: {size}, dynamic_batching, inputs and outputs",
            *(("max_batch_size",) if config.states("max_batch_size") else ()),
        )
