"""An ONNX file, or a folder with one: nothing is exported, the graph itself is served."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from modelyard_build import given_graph
from modelyard_build.adoption.answers import name_of
from modelyard_build.adoption.axes import explore
from modelyard_build.adoption.batching import batched_outputs
from modelyard_build.adoption.examples import read_example, with_items
from modelyard_build.adoption.inspection import Inspected
from modelyard_build.adoption.onnx_graphs import GraphModule, draws_of, example_of
from modelyard_build.adoption.origin import Draw, Limit, Opened, Origin, Wish
from modelyard_build.adoption.ranges import BOUND
from modelyard_build.adoption.running import RunFailed, Runner
from modelyard_build.adoption.writing import small
from modelyard_build.errors import AdoptionFailed, BuildError
from modelyard_build.model import NUMPY_DTYPES, Arrays, Axis, Tensor
from modelyard_build.nets.onnx_reference import OnnxReference, shape_of
from modelyard_build.onnx_file_checks import check_file
from modelyard_build.repository.lint.artefacts.onnx import DEFAULT_FILENAME

_SUFFIXES = (".onnx", ".ort")
_WEIGHTS_OF_OTHERS = ("*.safetensors", "pytorch_model*.bin")
EXAMPLE = "example"
_MOST_NAMED = 3
# A drawn example has as many items as show that they differ.
_ITEMS = 4
# Sizes for the dimensions that vary: the first at which the graph runs is the example's.
_SIZES = (16, 32, 64, 128, 224, 256, 512, 8, 4, 3, 2, 1)
_DTYPES = {np.dtype(dtype): name for name, dtype in NUMPY_DTYPES.items()}


@dataclass(frozen=True)
class _Way:
    """A way to serve the graph.

    Attributes:
        proto: the graph, its batch freed where that is the way.
        skipped: leading dimensions of its inputs that are the batch: 1, or 0 where there is none.
        rows: the file takes one item, with a first dimension of 1.
        numbers: the tensors that are single numbers in the file, and rows of one here.
    """

    proto: onnx.ModelProto
    skipped: int
    rows: bool = False
    numbers: tuple[str, ...] = ()


def _file(origin: str) -> Path | None:
    """The ONNX file that is meant; None where none is."""
    path = Path(origin).expanduser()
    if path.is_dir():
        others = any(found for pattern in _WEIGHTS_OF_OTHERS for found in path.glob(pattern))
        inside = sorted(path.glob("*.onnx"))
        named = path / DEFAULT_FILENAME
        found = named if named in inside else inside[0] if len(inside) == 1 else None
        return None if others else found
    return path if path.suffix.lower() in _SUFFIXES else None


def knows(wish: Wish) -> bool:
    """Whether the origin is an ONNX file, or a folder whose model is one."""
    return _file(wish.origin) is not None


def open_file(wish: Wish) -> Opened:
    """Reads the file and finds out what it takes, whether its items may be batched, and from what to what it varies.

    Raises:
        AdoptionFailed: it is damaged, has operators or tensors that cannot be served, or does not run.
    """
    path = _file(wish.origin)
    assert path is not None  # noqa: S101  # asked by `knows`
    path = path.absolute()
    if not path.is_file():
        raise AdoptionFailed(f"{path} is no file. Give an ONNX file, or a folder with one: --from model.onnx.")
    if wish.weights:
        raise AdoptionFailed(f"{path.name} has its weights in it or beside it; leave --weights out.")
    try:
        header = check_file(wish.name, path)
        proto = given_graph.load(wish.name, path)
        dropped = given_graph.drop_default_inputs(proto)
        _check_wish(wish, proto)
        opened = _opened(wish, path, proto, _dropped(dropped))
    except AdoptionFailed:
        raise
    except BuildError as error:
        raise AdoptionFailed(str(error)) from error
    beside = {file.location: path.parent / file.location for file in header.details["external_files"]}
    return replace(opened, assets={**opened.assets, **beside})


def _dropped(names: Sequence[str]) -> list[str]:
    if len(names) > _MOST_NAMED:
        return [f"{len(names)} inputs have values in the file, and are served as those constants"]
    return [f"input {name!r} has a value in the file, and is served as that constant" for name in names]


def _check_wish(wish: Wish, proto: onnx.ModelProto) -> None:
    names = [value.name for value in proto.graph.input]
    if not names or not proto.graph.output:
        raise AdoptionFailed(f"{wish.origin} has no {'outputs' if names else 'inputs'}; there is nothing to serve.")
    unknown = [name for name in wish.inputs if name not in names]
    if unknown:
        raise AdoptionFailed(f"--input {unknown[0]}: the graph's inputs are {', '.join(names)}.")


def _opened(wish: Wish, path: Path, proto: onnx.ModelProto, notes: list[str]) -> Opened:
    for way in _ways(proto):
        try:
            return _along(wish, path, way, notes)
        except AdoptionFailed as error:
            if not way.skipped:
                raise
            notes = [*notes, f"requests are not batched: {str(error).partition('. ')[0].rstrip('.')}"]
    raise AssertionError("the last way has no batch")


def _ways(proto: onnx.ModelProto) -> list[_Way]:
    """With the batch that the graph has, or that it can be given; without one last."""
    shapes = [shape_of(value) for value in proto.graph.input]
    ways = []
    if all(shape and isinstance(shape[0], str) for shape in shapes):
        ways.append(_with_rows(proto, 1))
    elif all(shapes) and given_graph.batch_is_fixed(proto):
        freed = onnx.ModelProto()
        freed.CopyFrom(proto)
        given_graph.free_batch(freed)
        ways.append(replace(_with_rows(freed, 1), rows=True))
    return [*ways, _with_rows(proto, 0)]


def _with_rows(proto: onnx.ModelProto, skipped: int) -> _Way:
    names = given_graph.numbers(proto, skipped)
    if not names:
        return _Way(proto, skipped)
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    given_graph.as_rows(copy, names, batched=bool(skipped))
    return _Way(copy, skipped, numbers=tuple(names))


def _along(wish: Wish, path: Path, way: _Way, notes: list[str]) -> Opened:
    runner = _runner(wish, way)
    answers = runner.run(runner.example)
    outputs, left_out = batched_outputs(runner, answers)
    wrong = [
        *left_out,
        *(f"output {name!r} has it as dimension {one.batch}" for name, one in outputs.items() if one.batch),
    ]
    if wrong:
        raise AdoptionFailed(wrong[0])
    limits = _limits(wish, way)
    axes = explore(runner, outputs, limits, lambda line: None)
    flat = [name for name, dims in {**axes.inputs, **axes.outputs}.items() if not dims]
    if flat:
        raise AdoptionFailed(
            f"{flat[0]!r} is a single number for each {'item' if way.skipped else 'request'}, and the file does not "
            "say so: give its shape in the graph (onnx.shape_inference), or add an Unsqueeze behind it."
        )
    opened = _described(wish, path, way, runner)
    freed = "the file takes one item; its first dimension is made the batch, and items answer as they do alone"
    inspected = Inspected(
        inputs=tuple(Tensor(name, _DTYPES[runner.example[name].dtype], dims) for name, dims in axes.inputs.items()),
        outputs=tuple(Tensor(name, outputs[name].dtype, _own(name, dims)) for name, dims in axes.outputs.items()),
        places={},
        batch_at={},
        numbers=(),
        example=small(with_items(runner.example, runner.draws, _ITEMS)) if not wish.example else runner.example,
        max_batch_size=axes.max_batch_size if way.skipped else 0,
        notes=(*([freed] if way.rows else []), *notes, *axes.notes),
        proven=tuple(line.replace("PyTorch", "ONNX Runtime") for line in axes.proven),
    )
    return replace(opened, inspected=inspected)


def _own(name: str, dims: tuple[int | Axis, ...]) -> tuple[int | Axis, ...]:
    """Gives the axes that only an output has its name."""
    return tuple(
        replace(dim, name=f"{name_of(name)}_{at}") if isinstance(dim, Axis) and not dim.name else dim
        for at, dim in enumerate(dims, 1)
    )


def _described(wish: Wish, path: Path, way: _Way, runner: Runner) -> Opened:
    options = ", rows=True" if way.rows else ""
    options += f", numbers={json.dumps(way.numbers)}" if way.numbers else ""
    nodes = len(way.proto.graph.node)
    asset = DEFAULT_FILENAME
    return Opened(
        module=OnnxReference(path, way.rows, way.numbers),
        example=runner.example,
        load="from modelyard_build.nets.onnx_reference import OnnxReference\n\n"
        f"return OnnxReference(files[{json.dumps(asset)}]{options})",
        assets={asset: path, **({EXAMPLE: wish.example.absolute()} if wish.example else {})},
        draws=runner.draws,
        summary=f"the graph of {path.name}, {nodes} {'node' if nodes == 1 else 'nodes'}",
        graph=asset,
        example_asset=EXAMPLE if wish.example else "",
    )


def _runner(wish: Wish, way: _Way) -> Runner:
    """The graph with an example that it takes."""
    dtypes = {
        value.name: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        for value in way.proto.graph.input
    }
    whole = [name for name, dtype in dtypes.items() if dtype.kind in "iub"]
    draws = {**draws_of(way.proto, whole), **wish.draws}
    module = GraphModule(way.proto, alone=not way.skipped)
    failed = ""
    for example in _examples(wish, way, dtypes, draws):
        runner = Runner(module, example, draws)
        try:
            answers = runner.run(example)
        except RunFailed as error:
            failed = failed or str(error)
            continue
        if not any(value.is_floating_point() and bool(value.isnan().any()) for value in answers.values()):
            return runner
        failed = failed or "it answers with NaN"
    raise AdoptionFailed(
        f"{wish.origin}: ONNX Runtime does not run the graph on "
        f"{'the example' if wish.example else 'drawn inputs'}: {failed}. "
        "Give real inputs with --example inputs.npz, an array for each input, items along the first dimension."
    )


def _examples(
    wish: Wish,
    way: _Way,
    dtypes: Mapping[str, np.dtype[Any]],
    draws: Mapping[str, Draw],
) -> list[Arrays]:
    shapes = {value.name: shape_of(value)[way.skipped :] for value in way.proto.graph.input}
    if wish.example:
        return [_given(wish, dtypes, shapes)]
    varying = any(isinstance(dim, str) for shape in shapes.values() for dim in shape)
    found = []
    for size in _SIZES if varying else _SIZES[:1]:
        sized = {
            name: tuple(dim if isinstance(dim, int) else _size(wish, dim, size) for dim in shape)
            for name, shape in shapes.items()
        }
        found += [example_of(sized, dtypes, draws, _ITEMS, positive) for positive in (False, True)]
    return found


def _size(wish: Wish, name: str, usual: int) -> int:
    limit = wish.limits.get(name_of(name))
    return min(max(usual, limit.min), limit.max) if limit else usual


def _given(
    wish: Wish,
    dtypes: Mapping[str, np.dtype[Any]],
    shapes: Mapping[str, tuple[int | str, ...]],
) -> Arrays:
    assert wish.example is not None  # noqa: S101  # asked for by the caller
    found = read_example(wish.example)
    if sorted(found) != sorted(dtypes):
        raise AdoptionFailed(
            f"--example {wish.example} has {', '.join(found)}; the graph's inputs are {', '.join(dtypes)}. Give an "
            "array for each."
        )
    arrays = {name: found[name].astype(dtype) for name, dtype in dtypes.items()}
    # One item in the graph's own shape, where the graph has no batch.
    alone = all(arrays[name].ndim == len(shape) for name, shape in shapes.items())
    return {name: array[None] for name, array in arrays.items()} if alone else arrays


def _limits(wish: Wish, way: _Way) -> dict[str, dict[int, Limit]]:
    """What the graph says of each dimension beside the batch, and what the user says of those that vary."""
    found: dict[str, dict[int, Limit]] = {}
    for value in way.proto.graph.input:
        dims = shape_of(value)[way.skipped :]
        for at, dim in enumerate(dims, 1):
            if isinstance(dim, int):
                limit = Limit("", dim, dim)
            else:
                name = name_of(dim) if dim else f"{name_of(value.name)}_{at}"
                limit = wish.limits.get(name, Limit(name, 1, BOUND))
            found.setdefault(value.name, {})[at] = limit
    return found


ORIGIN = Origin("an ONNX file, or a folder with one", knows, open_file)
