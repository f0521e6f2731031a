"""A declaration tried before it stands: exported, and its graph held against PyTorch at other sizes than were traced.

Tracing narrows some of what PyTorch can do. Where a condition in the module's code leaves some of the sizes of an axis
out, the axis is narrowed or fixed to what is left, and the reason told.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from modelyard_build import export, given_graph, verify
from modelyard_build.adoption.declaration import render
from modelyard_build.adoption.inspection import Inspected, inspect
from modelyard_build.adoption.origin import Limit, Opened, Wish
from modelyard_build.adoption.running import apart, in_words
from modelyard_build.adoption.writing import small
from modelyard_build.errors import AdoptionFailed, BuildError, ExportFailed
from modelyard_build.export_guards import BATCH, Guard, Guards, watched
from modelyard_build.model import Arrays, Axis, Model
from modelyard_build.module_checks import check_module, examples_of
from modelyard_build.one_dtype import OneDtype
from modelyard_build.targets import onnxruntime
from modelyard_build.targets.target import of_items

# An exported one, and one that came as it is.
_GRAPH = ("the exported graph", "the graph")
# Each round narrows one axis.
_MOST_ROUNDS = 8
# The build derives a bound; this tells a graph that computes something else from one that rounds otherwise.
_OTHER = 1e-2


class Narrowed(Exception):
    """Tracing leaves out sizes of an axis; the message says why.

    Attributes:
        axis: its name.
        low: the smallest size that is left.
        high: the largest.
    """

    def __init__(self, axis: str, low: int, high: int, why: str) -> None:
        super().__init__(why)
        self.axis, self.low, self.high = axis, low, high


@dataclass(frozen=True)
class Trial:
    """What became of it.

    Attributes:
        inspected: what is declared now: axes may be narrower for a graph; what cannot be exported keeps its own.
        refused: why it cannot be exported; empty where it can.
    """

    inspected: Inspected
    refused: str = ""


def attempt(wish: Wish, opened: Opened, inspected: Inspected, report: Callable[[str], None]) -> Trial:
    """Exports the declaration, narrower where it has to be, and proves its graph.

    Args:
        wish: what the user said.
        opened: the module.
        inspected: what was found out of it.
        report: takes a line about what is being tried.

    Raises:
        AdoptionFailed: the declared module cannot be verified, or the graph computes something else than PyTorch.
    """
    notes: list[str] = []
    own = inspected
    for _ in range(_MOST_ROUNDS):
        current = replace(inspected, notes=(*inspected.notes, *notes))
        beside = {} if opened.example_asset else small(current.example)
        with declared(render(wish, opened, current), wish.name, beside) as model:
            try:
                proven = _prove(model, opened.assets, report)
                return Trial(replace(current, proven=(*current.proven, proven)))
            except Narrowed as error:
                notes.append(str(error))
                opened = _limited(opened, current, error)
                inspected = inspect(opened, report)
            except ExportFailed as error:
                return Trial(own, str(error))
    return Trial(own, f"{wish.name}: each trial export fixes another size: {'; '.join(notes)}")


@contextlib.contextmanager
def declared(text: str, name: str, example: Arrays) -> Iterator[Model]:
    """The model that the text of a declaration declares, with its example beside it while the context lasts."""
    with tempfile.TemporaryDirectory(prefix="modelyard-new-") as folder:
        path = Path(folder) / f"{name}.py"
        path.write_text(text)
        np.savez(path.with_suffix(".npz"), **example)
        specification = importlib.util.spec_from_file_location(f"modelyard_new_{name}", path)
        assert specification is not None and specification.loader is not None  # noqa: S101, PT018  # a .py file has both
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        yield module.MODELS[0]


def _prove(model: Model, files: Mapping[str, Path], report: Callable[[str], None]) -> str:
    report("trial export")
    module = model.load(files)
    check_module(model, module)
    _check_float64(model, module, files)
    with tempfile.TemporaryDirectory(prefix="modelyard-new-") as folder:
        path = _graph(model, module, files, Path(folder))
        report("the graph against PyTorch")
        return _compare(model, module, files, of_items(model, onnxruntime.Runner(path)))


def _graph(model: Model, module: nn.Module, files: Mapping[str, Path], folder: Path) -> Path:
    if model.graph:
        return onnxruntime.write(given_graph.take(model, files[model.graph]), folder)
    with apart():
        _check_guards(model, module, files)
        proto = export.export(model, module, files, model.translations() if model.translations else None)
    return onnxruntime.write(proto, folder)


def _check_float64(model: Model, module: nn.Module, files: Mapping[str, Path]) -> None:
    """The build's bound is derived from the module's answers in float64, so it must run in it."""
    example = examples_of(model, files, 2, export.traced_sizes(model))
    try:
        exact = copy.deepcopy(module).double()
        with apart(), OneDtype(torch.float64):
            verify.run_module(model, exact, example)
    # A stranger's module may raise anything.
    except Exception as error:
        raise AdoptionFailed(
            f"the module does not run in float64, from which the build derives how far an artefact may be away: "
            f"{in_words(error)}. Keep tensors that forward uses in buffers (register_buffer), and take dtypes from a "
            "tensor (x.new_zeros, dtype=x.dtype)."
        ) from error


def _check_guards(model: Model, module: nn.Module, files: Mapping[str, Path]) -> None:
    """Raises `Narrowed` where the code that is traced holds for some of the declared sizes only."""
    guards = Guards(model)
    example = examples_of(model, files, export.TRACED_BATCH, export.traced_sizes(model))
    tensors = {tensor.name: torch.from_numpy(example[tensor.name]) for tensor in model.inputs}
    # Why the export fails, where it does, is said by the one that writes the graph.
    with export._quiet(), watched(guards), contextlib.suppress(Exception):
        torch.export.export(module, (), tensors, dynamic_shapes=export.dynamic_shapes(model), strict=False)
    violated = guards.violated()
    if violated is None:
        return
    guard, _ = violated
    axes = {axis.name: axis for axis in export.axes_of(model)}
    own = [name for name in guard.axes if name in axes]
    if BATCH in guard.axes or not own:
        return
    raise _narrowed(guard, axes[own[-1]], alone=len(own) == 1)


def _narrowed(guard: Guard, axis: Axis, *, alone: bool) -> Narrowed:
    """What is left of an axis around the size that the example has."""
    size = axis.opt
    low = high = size
    held = [each for each in range(max(axis.min, 2), axis.max + 1) if alone and _holds(guard, axis, each)]
    # What holds for the one size that was traced holds for another one when that is traced.
    if len(held) > 1:
        wanted = _holds(guard, axis, size)
        while low > axis.min and _holds(guard, axis, low - 1) == wanted:
            low -= 1
        while high < axis.max and _holds(guard, axis, high + 1) == wanted:
            high += 1
    if high == low:
        why = f"{axis.name} is fixed at {size}: a graph holds the one size that it is traced with, by {guard.place}"
    else:
        why = (
            f"{axis.name} is narrowed to {low} to {high}: the code at {guard.place} decides by it, and a graph holds "
            f"one side of {guard.condition}"
        )
    return Narrowed(axis.name, low, high, why)


def _holds(guard: Guard, axis: Axis, size: int) -> bool:
    return not guard.fails_at({axis.name: range(size, size + 1)})


def _limited(opened: Opened, inspected: Inspected, narrowed: Narrowed) -> Opened:
    """The same, with what is known now of the dimensions of an axis."""
    limits = {name: dict(known) for name, known in opened.limits.items()}
    for tensor in inspected.inputs:
        for at, dim in enumerate(tensor.dims, 1):
            if isinstance(dim, Axis):
                low, high = (narrowed.low, narrowed.high) if dim.name == narrowed.axis else (dim.min, dim.max)
                limits.setdefault(tensor.name, {})[at] = Limit(dim.name, low, high)
            elif at not in limits.get(tensor.name, {}):
                limits.setdefault(tensor.name, {})[at] = Limit("", dim, dim)
    return replace(opened, limits=limits, notes=())


def _compare(model: Model, module: nn.Module, files: Mapping[str, Path], run: verify.Run) -> str:
    cases = _cases(model)
    for case in cases:
        inputs = examples_of(model, files, case.batch, case.sizes)
        expected = verify.run_module(model, module, inputs)
        try:
            answers = run(inputs)
        # onnxruntime's exceptions have no common base.
        except Exception as error:
            raise _fails(model, case, f"does not run: {' '.join(str(error).split())[:300]}") from error
        for name, array in expected.items():
            if answers[name].shape != array.shape:
                raise _fails(model, case, f"answers {name!r} {list(answers[name].shape)}, PyTorch {list(array.shape)}")
            scale = float(np.abs(array.astype(np.float64)).max(initial=1e-6))
            difference = np.abs(answers[name].astype(np.float64) - array.astype(np.float64)).max(initial=0.0)
            if not difference <= _OTHER * scale:
                raise _fails(
                    model, case, f"differs from PyTorch in {name!r} by {difference:.3g} (values to {scale:.3g})"
                )
    meant = "ONNX's reference" if model.graph else "PyTorch"
    return f"{_GRAPH[bool(model.graph)]} answered as {meant} at {'; '.join(map(str, cases))}"


def _cases(model: Model) -> list[verify.Case]:
    """One item at the smallest sizes, a full batch between, two at the largest."""
    axes = export.axes_of(model)
    smallest, largest = ({axis.name: getattr(axis, end) for axis in axes} for end in ("min", "max"))
    between = {axis.name: (2 * axis.min + axis.max) // 3 for axis in axes}
    most = max(model.max_batch_size, 1)
    if not axes:
        return [verify.Case(batch, {}) for batch in sorted({1, min(2, most), most})]
    return [verify.Case(1, smallest), verify.Case(min(5, most), between), verify.Case(min(2, most), largest)]


def _fails(model: Model, case: verify.Case, what: str) -> BuildError:
    meant = "ONNX's reference" if model.graph else "PyTorch"
    remedy = "Export it again" if model.graph else "Look for Python code in forward that depends on sizes"
    return ExportFailed(
        f"{model.name}: {_GRAPH[bool(model.graph)]} {what}, at {case}, which {meant} can do. {remedy}, or declare "
        "fewer sizes with --input."
    )
