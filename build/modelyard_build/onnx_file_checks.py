"""What is wrong with an ONNX file, told before anything loads it: damage, foreign operators, what no request can be."""

from __future__ import annotations

import functools
from pathlib import Path

import onnx

from modelyard_build.errors import ExportFailed
from modelyard_build.model import NUMPY_DTYPES
from modelyard_build.nets.onnx_types import nodes_of
from modelyard_build.repository.lint.artefacts.artefact import Artefact, TensorInfo
from modelyard_build.repository.lint.artefacts.onnx import ExternalFile, read_onnx

# Domains that are ONNX's own under another name.
_OWN = {"ai.onnx": ""}
# Of tensors: what a request can carry and an answer can be compared by.
_DTYPES = frozenset(NUMPY_DTYPES) - {"BYTES"}


def check_file(name: str, path: Path) -> Artefact:
    """Holds an ONNX file against what can be served.

    Args:
        name: of the model, for messages.
        path: the file.

    Returns:
        What its header says.

    Raises:
        ExportFailed: what, where, and the next step.
    """
    try:
        found = read_onnx(path, {})
    except OSError as error:
        raise ExportFailed(f"{name}: {path} cannot be read: {error.strerror}.") from error
    if found.problem:
        raise ExportFailed(f"{name}: {path} {found.problem}. Expected is an ONNX file that is whole.")
    for file in found.details["external_files"]:
        _check_external(f"{name}: {path}", file)
    _check_operators(name, path, found)
    for role, tensors in (("input", found.inputs or ()), ("output", found.outputs or ())):
        for tensor in tensors:
            if tensor.name not in found.optional_inputs:
                _check_tensor(f"{name}: {role} {tensor.name!r} of {path.name}", tensor, found)
    return found


def _check_external(what: str, file: ExternalFile) -> None:
    if file.outside:
        raise ExportFailed(
            f"{what} names {file.location!r} for its weights, which leads out of the file's folder. ONNX allows names "
            "within it only: save the model again with its data beside it."
        )
    if file.size is None:
        raise ExportFailed(
            f"{what} keeps weights in {file.location!r} beside it, and there is no such file. Copy it there: an ONNX "
            "file with external data is useless without it."
        )
    if file.size < file.end:
        raise ExportFailed(
            f"{what} keeps weights in {file.location!r} up to byte {file.end}; the file has {file.size}. It is only a "
            "part of what it was: copy it again."
        )


def _check_operators(name: str, path: Path, found: Artefact) -> None:
    """ONNX Runtime knows every operator of ONNX, and its own of com.microsoft."""
    domains = {_OWN.get(domain, domain) for domain in found.details["operators"]} - found.details["function_domains"]
    known = _known_operators()
    if not any(
        (domain, operator) not in known for domain in domains for operator in found.details["operators"].get(domain, ())
    ):
        return
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:
        # Protobuf's errors have no base of their own.
        raise ExportFailed(f"{name}: {path} is no valid ONNX: {' '.join(str(error).split())[:200]}.") from error
    functions = {(function.domain, function.name) for function in proto.functions}
    for node in nodes_of(proto):
        operator = (_OWN.get(node.domain, node.domain), node.op_type)
        if operator not in known and (node.domain, node.op_type) not in functions:
            where = f"node {node.name!r}" if node.name else f"the node that makes {next(iter(node.output), '')!r}"
            of = f"domain {node.domain!r}" if node.domain else "ONNX"
            raise ExportFailed(
                f"{name}: {where} of {path.name} is a {node.op_type} of {of}, an operator that ONNX Runtime does not "
                "have. Export the model again without it, or with a model-local function (onnx.FunctionProto) that "
                "says what it means; a model that needs a library of custom operators is written by hand."
            )


@functools.cache
def _known_operators() -> frozenset[tuple[str, str]]:
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    return frozenset((schema.domain, schema.name) for schema in runtime.get_all_operator_schema())


def _check_tensor(what: str, tensor: TensorInfo, found: Artefact) -> None:
    if kind := found.details["kinds"].get(tensor.name, ""):
        raise ExportFailed(
            f"{what} is a {kind}; a request and an answer hold tensors only. Cut the graph at a tensor "
            "(onnx.utils.extract_model), or export the model without it."
        )
    dtype = tensor.dtype.removeprefix("TYPE_")
    if dtype not in _DTYPES:
        raise ExportFailed(
            f"{what} has elements of {dtype or 'a type that Triton does not have'}; served are "
            f"{', '.join(sorted(_DTYPES))}. Put a Cast before it, or serve the model by hand."
        )
