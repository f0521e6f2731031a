"""What can be said before tracing: the module, its weights and its answers, held against the declaration.

Each check names what was expected and what to do, where PyTorch would fail later, elsewhere, or not at all.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from modelyard_build.errors import ExportFailed
from modelyard_build.export_guards import place_of
from modelyard_build.model import NUMPY_DTYPES, Arrays, Axis, Model, Tensor


def examples_of(model: Model, files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """Real inputs, held against the declared ones.

    Args:
        model: the declaration.
        files: the fetched assets.
        batch: how many items.
        sizes: the size of each axis.

    Raises:
        ExportFailed: `examples` failed, or a name, dtype or shape is another one.
    """
    asked = f"{model.name}: examples() for batch {batch}" + "".join(f", {name} {size}" for name, size in sizes.items())
    try:
        arrays = model.examples(files, batch, sizes)
    except Exception as error:
        place = place_of(error.__traceback__)
        at = f" at {place}" if place else ""
        raise ExportFailed(
            f"{asked} failed{at}: {type(error).__name__}: {first_line(error)}. It must "
            "give real inputs for any declared size."
        ) from error
    _check_examples(asked, model, arrays, (batch, sizes))
    return arrays


def _check_examples(asked: str, model: Model, arrays: Arrays, wanted: tuple[int, Mapping[str, int]]) -> None:
    batch, sizes = wanted
    declared = [tensor.name for tensor in model.inputs]
    if not isinstance(arrays, dict) or sorted(arrays) != sorted(declared):
        got = _names(list(arrays)) if isinstance(arrays, dict) else f"a {type(arrays).__name__}"
        raise ExportFailed(f"{asked} returned {got}; expected is a dict of {_names(declared)}.")
    for tensor in model.inputs:
        array, shape = arrays[tensor.name], (batch, *_sizes_of(tensor, sizes))
        if not isinstance(array, np.ndarray):
            raise ExportFailed(
                f"{asked} returned a {type(array).__name__} for {tensor.name!r}; expected is a numpy array."
            )
        if array.dtype != np.dtype(NUMPY_DTYPES[tensor.dtype]) or not _fits(array.shape, shape):
            raise ExportFailed(
                f"{asked} returned {tensor.name!r} as {array.dtype} {list(array.shape)}; declared is "
                f"{_declared(tensor, shape)}. Mend examples(), or the declared input."
            )


def _sizes_of(tensor: Tensor, sizes: Mapping[str, int]) -> tuple[int | None, ...]:
    """The dims in numbers; None where only an output has the axis."""
    return tuple(sizes.get(dim.name) if isinstance(dim, Axis) else dim for dim in tensor.dims)


def _fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(want in (None, size) for size, want in zip(shape, expected, strict=True))


def _declared(tensor: Tensor, shape: Sequence[int | None]) -> str:
    named = [dim.name if isinstance(dim, Axis) else "" for dim in tensor.dims]
    batch = ["batch"] if len(shape) > len(named) else []
    dims = [f"{name} {size or ''}".strip() for name, size in zip([*batch, *named], shape, strict=True)]
    return f"{tensor.dtype} [{', '.join(dims)}]"


def _names(names: Sequence[object]) -> str:
    return ", ".join(map(repr, names)) or "nothing"


def check_module(model: Model, module: nn.Module) -> None:
    """Holds the module against what a `load` must give: eval mode, float32, on the CPU, only numbers.

    Raises:
        ExportFailed: naming the submodule or the parameter.
    """
    if not isinstance(module, nn.Module):
        raise ExportFailed(f"{model.name}: load() returned a {type(module).__name__}; expected is a torch.nn.Module.")
    training = [name or "the module itself" for name, inner in module.named_modules() if inner.training]
    if training:
        raise ExportFailed(
            f"{model.name}: load() returned a module in train mode ({_some(training)}), where dropout and batch norm "
            "answer by chance. End load() with `return module.eval()`."
        )
    for name, tensor, learned in _weights(module):
        _check_weight(f"{model.name}: {'parameter' if learned else 'buffer'} {name!r}", tensor, learned)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _weights(module: nn.Module) -> Iterator[tuple[str, torch.Tensor, bool]]:
    yield from ((name, tensor, True) for name, tensor in module.named_parameters())
    yield from ((name, tensor, False) for name, tensor in module.named_buffers())


def _check_weight(what: str, tensor: torch.Tensor, learned: bool) -> None:
    if tensor.device.type != "cpu":
        raise ExportFailed(f"{what} is on {tensor.device}; expected is the CPU. End load() with `module.cpu()`.")
    if not tensor.is_floating_point():
        return
    if tensor.dtype != torch.float32:
        raise ExportFailed(
            f"{what} is {_dtype(tensor)}; expected is float32, of which other precisions are made after the export. "
            "End load() with `module.float()`."
        )
    # A mask of -inf is a good buffer; no trained weight is infinite.
    wrong = ~tensor.isfinite() if learned else tensor.isnan()
    if count := int(wrong.sum()):
        raise ExportFailed(
            f"{what} holds {count} of {tensor.numel()} elements that are NaN or infinite. The weights are damaged or "
            "training diverged: load others."
        )


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def check_forward(model: Model, module: nn.Module, example: Arrays, sizes: Mapping[str, int]) -> None:
    """Runs the module in PyTorch, twice, and holds its answers against the declared outputs.

    Raises:
        ExportFailed: forward takes other inputs, fails, answers by chance, or returns something else than declared.
    """
    _check_signature(model, module)
    first, second = _run(model, module, example), _run(model, module, example)
    _check_structure(model, first)
    batch = (len(next(iter(example.values()))),) if model.max_batch_size else ()
    for tensor, value, again in zip(model.outputs, _as_tuple(first), _as_tuple(second), strict=True):
        _check_output(f"{model.name}: output {tensor.name!r}", tensor, value, (*batch, *_sizes_of(tensor, sizes)))
        if not torch.allclose(value.double(), again.double()):
            raise ExportFailed(
                f"{model.name}: output {tensor.name!r} of the PyTorch module differs between two runs on the same "
                "input. Take random numbers out of forward: dropout must follow self.training."
            )


def _check_signature(model: Model, module: nn.Module) -> None:
    parameters = inspect.signature(module.forward).parameters.values()
    taken = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    needed = {one.name for one in parameters if one.default is one.empty and one.name in taken}
    declared = [tensor.name for tensor in model.inputs]
    anything = any(one.kind is one.VAR_KEYWORD for one in parameters)
    wrong = [] if anything else [name for name in declared if name not in taken]
    missing = sorted(needed - set(declared))
    if wrong or missing:
        raise ExportFailed(
            f"{model.name}: forward takes {_names(taken)}; declared inputs are {_names(declared)}. "
            + " ".join([*(f"{name!r} is not taken." for name in wrong), *(f"{name!r} is missing." for name in missing)])
            + " Name the inputs as forward's parameters."
        )


def _run(model: Model, module: nn.Module, example: Arrays) -> Any:
    tensors = {tensor.name: torch.from_numpy(example[tensor.name]) for tensor in model.inputs}
    try:
        with torch.inference_mode():
            return module(**tensors)
    except Exception as error:
        place = place_of(error.__traceback__)
        at = f" at {place}" if place else ""
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in example.items())
        raise ExportFailed(
            f"{model.name}: the PyTorch module itself fails{at} on examples() ({shapes}): {type(error).__name__}: "
            f"{first_line(error)}. Mend forward or examples()."
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says, in one line of at most 200 characters, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")


def _as_tuple(outputs: Any) -> tuple[Any, ...]:
    return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)


def _check_structure(model: Model, outputs: Any) -> None:
    values = _as_tuple(outputs)
    declared = [tensor.name for tensor in model.outputs]
    if not all(isinstance(value, torch.Tensor) for value in values):
        raise ExportFailed(
            f"{model.name}: forward returns {_kind(outputs)}; expected is a tensor for each of {_names(declared)}, in "
            "this order. Wrap the module in one whose forward returns a plain tuple of tensors."
        )
    if len(values) != len(declared):
        raise ExportFailed(
            f"{model.name}: forward returns {len(values)} tensors, declared are {len(declared)} outputs: "
            f"{_names(declared)}. Declare each tensor in the order of forward, or return fewer."
        )


def _kind(outputs: Any) -> str:
    if outputs is None:
        return "None"
    name = type(outputs).__name__
    if isinstance(outputs, Mapping):
        return f"a {name} of {_names(list(outputs))}"
    if isinstance(outputs, tuple | list):
        return f"a {name} of " + ", ".join(type(value).__name__ for value in outputs)
    return f"a {name}"


def _check_output(what: str, tensor: Tensor, value: torch.Tensor, shape: tuple[int | None, ...]) -> None:
    if value.ndim == 0:
        raise ExportFailed(
            f"{what} is a single number for the whole batch; declared is {_declared(tensor, shape)}. Reduce over the "
            "other dimensions only: the first one is the batch."
        )
    if _dtype(value) != np.dtype(NUMPY_DTYPES[tensor.dtype]).name or not _fits(value.shape, shape):
        raise ExportFailed(
            f"{what} of the PyTorch module is {_dtype(value)} {list(value.shape)}; declared is "
            f"{_declared(tensor, shape)}. Mend the declaration or the module's forward."
        )
    if value.is_floating_point() and (count := int(value.isnan().sum())):
        raise ExportFailed(
            f"{what} of the PyTorch module has {count} of {math.prod(value.shape)} elements that are NaN on "
            "examples(). Nothing can be held against that: look for a division by zero or a row without tokens."
        )
