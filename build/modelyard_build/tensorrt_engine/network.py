"""ONNX graph -> TensorRT network: strongly typed, parsed with errors that name the node, held against the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard_build.errors import ArtefactFailed
from modelyard_build.tensorrt_engine.job import Binding

# TensorRT's names of data types, and Triton's.
DTYPES = {
    "FLOAT": "FP32",
    "HALF": "FP16",
    "BF16": "BF16",
    "FP8": "FP8",
    "FP4": "FP4",
    "INT4": "INT4",
    "INT8": "INT8",
    "INT32": "INT32",
    "INT64": "INT64",
    "UINT8": "UINT8",
    "BOOL": "BOOL",
}
# The parser follows each error of the graph with the CUDA runtime's, where there is no GPU.
_NOISE = "catchCudaError"


def parse(trt: Any, builder: Any, logger: Any, graph: Path, title: str) -> Any:
    """Parses a graph; the network computes each value in the dtype that the graph gives it.

    Args:
        trt: the library.
        builder: its builder.
        logger: its logger.
        graph: the ONNX file; external data is found beside it.
        title: the library's name and version, for people.

    Raises:
        ArtefactFailed: naming the node, its operator and why.
    """
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        raise ArtefactFailed(parser_error(parser, graph, title))
    return network


def _strongly_typed(trt: Any) -> int:
    """The creation flags; where a library has no such flag any more, every network is strongly typed."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def parser_error(parser: Any, graph: Path, title: str) -> str:
    """The first thing that the parser did not take, for people."""
    error = parser.get_error(0)
    code = getattr(error.code(), "name", str(error.code()))
    reasons = [line.strip() for line in error.desc().splitlines() if line.strip() and _NOISE not in line]
    reason = " ".join(reasons) or "no reason given"
    if error.node() < 0:
        return (
            f"{title} cannot read {graph.name}: {reason} ({code}). Check that the file is whole ONNX: "
            f'python -c "import onnx; onnx.checker.check_model({graph.name!r}, full_check=True)"'
        )
    return (
        f"{title} does not take ONNX node {error.node_name() or error.node()!r}, operator "
        f"{error.node_operator() or 'unknown'}, number {error.node()} of {graph.name}: {code}, {reason}. "
        "Write that step of the module with other operators, or serve the model through another target."
    )


def bindings(network: Any) -> tuple[Binding, ...]:
    """The inputs and outputs, in the network's order."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    return (*(_binding(tensor, "input") for tensor in inputs), *(_binding(tensor, "output") for tensor in outputs))


def _binding(tensor: Any, mode: str) -> Binding:
    return Binding(tensor.name, mode, dtype_of(tensor.dtype), tuple(tensor.shape))


def dtype_of(dtype: Any) -> str:
    """Triton's name of a TensorRT dtype, or TensorRT's own where Triton has none."""
    name: str = dtype.name
    return DTYPES.get(name, name)


def check_bindings(declared: Sequence[Binding], found: Sequence[Binding], title: str) -> None:
    """Holds a network's inputs and outputs against the model's.

    Raises:
        ArtefactFailed: naming the tensor, what it is and what is declared.
    """
    by_name = {(binding.mode, binding.name): binding for binding in found}
    for want in declared:
        got = by_name.pop((want.mode, want.name), None)
        if got is None:
            names = ", ".join(binding.name for binding in found if binding.mode == want.mode)
            raise ArtefactFailed(
                f"{title} has no {want.mode} {want.name!r}; it has {names or 'none'}. Mend the model's declaration."
            )
        if got.dtype != want.dtype or not _fits(got.dims, want.dims):
            raise ArtefactFailed(
                f"{title}: {want.mode} {want.name!r} is {got.dtype} {list(got.dims)}, declared is {want.dtype} "
                f"{list(want.dims)} (batch first, -1 where a size varies). Declare it as the engine has it, or change "
                "the module."
            )
    if by_name:
        extra = ", ".join(f"{mode} {name!r}" for mode, name in by_name)
        raise ArtefactFailed(f"{title} has {extra}, which the model does not declare. Declare it, or drop it.")


def _fits(found: Sequence[int], declared: Sequence[int]) -> bool:
    """Equal sizes; the parser may leave one open that is declared, never the other way round."""
    return len(found) == len(declared) and all(a in (b, -1) for a, b in zip(found, declared, strict=True))


def precisions(network: Any) -> dict[str, int]:
    """How many layers give each dtype, before the builder fuses them."""
    layers = (network.get_layer(index) for index in range(network.num_layers))
    outputs = (layer.get_output(0) for layer in layers if layer.num_outputs)
    return dict(Counter(dtype_of(tensor.dtype) for tensor in outputs).most_common())
