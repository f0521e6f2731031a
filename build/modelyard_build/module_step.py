"""A PyTorch module that cannot be exported, served as it is by a Python step; see `steps/pytorch_module.py`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard_build import steps
from modelyard_build.assets import Asset
from modelyard_build.errors import BrokenDeclaration
from modelyard_build.model import Array, Arrays, Axis, Model, PythonModel, Tensor
from modelyard_build.rounding import joined_rows

if TYPE_CHECKING:
    from torch import nn

# Where a user's own files lie in a version: beside the step's model.py their names could be the step's.
SOURCE = "source"
DESCRIPTION, WEIGHTS = "module.json", "weights.safetensors"
# As Triton's pytorch backend calls them; 0 is a fair share of the cores, and PyTorch's own number.
THREADS = {"INTRA_OP_THREAD_COUNT": "0", "INTER_OP_THREAD_COUNT": "0"}
# Each of them runs alone in PyTorch, twice; what cannot be exported is often slow.
VERIFIED_ITEMS, CORNER_ITEMS = 64, 8


def as_it_is(
    model: Model,
    module: str,
    sources: Mapping[str, Asset],
    original: Callable[[Mapping[str, Path]], nn.Module],
    places: Mapping[str, str],
    batch: Mapping[str, int] | None = None,
    numbers: Sequence[str] = (),
    arguments: Callable[[nn.Module], Mapping[str, Any]] | None = None,
) -> PythonModel:
    """Declares a model as a step that runs its module, in place of an artefact made of it.

    Args:
        model: the declaration that an export would take.
        module: "decoder:Decoder": one of `sources` as Python imports it, and what in it is the module, or makes it when
            it is called with `arguments`.
        sources: the module's own Python files, by path below the folder that they are imported from.
        original: the module with its weights as its author wrote it; its state is what is served.
        places: where each output stands in what it returns: nothing for the tensor itself, states[1], logits.
        batch: the dimension that is the batch, for outputs in which it is not the first.
        numbers: the inputs that have one number for each item, and are declared as rows of one.
        arguments: those that make the module `original` again, its weights apart; what JSON holds. None: there are
            none.

    Raises:
        BrokenDeclaration: the model has no batch dimension.
    """
    if model.dynamic_batching is None or not model.max_batch_size:
        raise BrokenDeclaration(f"{model.name} has no batch dimension; a module that is served as it is needs one.")
    description = {
        "module": module,
        "inputs": [{**_described(tensor), "number": tensor.name in numbers} for tensor in model.inputs],
        "outputs": [
            {**_described(tensor), "place": places[tensor.name], "batch": (batch or {}).get(tensor.name, 0)}
            for tensor in model.outputs
        ],
    }
    served = _Served(model, original, description, arguments)
    return PythonModel(
        name=model.name,
        summary=model.summary,
        source=Path(steps.__path__[0]) / "pytorch_module.py",
        inputs=model.inputs,
        outputs=model.outputs,
        files={f"{SOURCE}/{path}": asset for path, asset in sources.items()},
        parameters=THREADS,
        assets=model.assets,
        examples=served.examples,
        reference=served.reference,
        max_batch_size=model.max_batch_size,
        dynamic_batching=model.dynamic_batching,
        instance_kind="KIND_AUTO",
        write=served.write,
        exact=served.exact,
        verified_items=VERIFIED_ITEMS,
        corners=served.corners,
    )


@dataclass(frozen=True)
class _Served:
    """What the step's declaration needs of the model: what it is asked and must answer, and what it is served from."""

    model: Model
    original: Callable[[Mapping[str, Path]], nn.Module]
    description: Mapping[str, Any]
    arguments: Callable[[nn.Module], Mapping[str, Any]] | None

    def examples(self, files: Mapping[str, Path], batch: int) -> Arrays:
        """Of the usual size."""
        return self.model.examples(files, batch, {axis.name: axis.opt for axis in self._axes()})

    def corners(self, files: Mapping[str, Path]) -> list[Arrays]:
        """Of the smallest and the largest size; none of a model whose sizes are fixed."""
        axes = self._axes()
        sizes = [{axis.name: axis.min for axis in axes}, {axis.name: axis.max for axis in axes}] if axes else []
        return [self.model.examples(files, min(CORNER_ITEMS, self.model.max_batch_size), size) for size in sizes]

    def reference(self, files: Mapping[str, Path], arrays: Arrays) -> Arrays:
        """What the module answers."""
        return _alone(self.model.load(files), arrays, self.model.outputs)

    def exact(self, files: Mapping[str, Path], arrays: Arrays) -> Arrays:
        """What it answers in float64."""
        import torch

        from modelyard_build.one_dtype import OneDtype

        module = self.model.load(files).double()
        # Also where the module's code names float32.
        with OneDtype(torch.float64):
            return _alone(module, arrays, self.model.outputs)

    def write(self, files: Mapping[str, Path], folder: Path) -> None:
        """Puts the weights and their description into the version."""
        from safetensors.torch import save_file

        # Whatever the weights came as, tensors alone are served; a copy each, because two of them may be one.
        module = self.original(files)
        state = {name: tensor.clone().contiguous() for name, tensor in module.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        made = {"arguments": self.arguments(module)} if self.arguments else {}
        (folder / DESCRIPTION).write_text(json.dumps({**self.description, **made}, indent=1) + "\n")

    def _axes(self) -> list[Axis]:
        dims = {dim.name: dim for tensor in self.model.inputs for dim in tensor.dims if isinstance(dim, Axis)}
        return list(dims.values())


def _described(tensor: Tensor) -> dict[str, Any]:
    dims = [[dim.min, dim.max] if isinstance(dim, Axis) else dim for dim in tensor.dims]
    return {"name": tensor.name, "dtype": tensor.dtype, "dims": dims}


def _alone(module: nn.Module, arrays: Arrays, outputs: Sequence[Tensor]) -> Arrays:
    """The module's answers to each item on its own: what it must answer in whatever company an item comes."""
    count = len(next(iter(arrays.values())))
    answers = [_run(module, {name: array[at : at + 1] for name, array in arrays.items()}) for at in range(count)]
    return {tensor.name: joined_rows([answer[place] for answer in answers]) for place, tensor in enumerate(outputs)}


def _run(module: nn.Module, arrays: Arrays) -> list[Array]:
    """The outputs in order; floats go in as the module computes."""
    import torch

    dtype = next((parameter.dtype for parameter in module.parameters()), torch.float32)
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    cast = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    with torch.inference_mode():
        return [tensor.numpy() for tensor in module(**cast)]
