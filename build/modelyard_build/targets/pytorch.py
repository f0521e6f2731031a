"""Triton's pytorch backend: the module itself, traced to TorchScript or compiled ahead of time by Inductor."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard_build.errors import ArtefactFailed
from modelyard_build.model import Arrays, Model
from modelyard_build.quality import EXACT
from modelyard_build.targets.target import Candidate, Run, Source, Target

if TYPE_CHECKING:
    import torch

# The backend leaves autograd's bookkeeping on unless it is told.
_INFERENCE = {"INFERENCE_MODE": "true"}


_BY_HAND = (
    "Triton's backend documents batches above 1 as incomplete for archives, and calls their tensors otherwise "
    "(KWARGS[name], RESULT): a config for them is written by hand"
)
# The first release whose pytorch backend takes ahead-of-time compiled archives.
FIRST_AHEAD_OF_TIME = "26.03"


class PyTorch(Target):
    """The module's own operators: TorchScript, and archives that Inductor compiled for this kind of CPU."""

    name = "pytorch"
    distributions = ("torch",)
    candidates = (
        Candidate("pytorch-fp32", name, "fp32", "fp32", "model.pt", EXACT, parameters=_INFERENCE),
        Candidate(
            "pytorch-aoti-fp32", name, "fp32", "fp32", "model.pt2", EXACT, platform="torch_aoti", by_hand=_BY_HAND
        ),
    )

    def missing(self, candidate: Candidate) -> str:
        """See `Target`."""
        compiler = os.environ.get("CXX", "g++")
        if candidate.platform and shutil.which(compiler) is None:
            return f"Inductor needs a C++ compiler, and there is no {compiler}: install g++, or set CXX"
        return ""

    def write(self, candidate: Candidate, source: Source, folder: Path) -> dict[str, Any]:
        """See `Target`."""
        path = folder / candidate.filename
        return _compile(source, path) if candidate.platform else _trace(source, path)

    def cannot_run(self, candidate: Candidate) -> str:
        """See `Target`."""
        return ""

    def runner(self, candidate: Candidate, folder: Path, model: Model) -> Run:
        """See `Target`."""
        path = folder / candidate.filename
        return AheadOfTimeRunner(path, model) if candidate.platform else TorchScriptRunner(path, model)


def _trace(source: Source, path: Path) -> dict[str, Any]:
    import torch

    try:
        with torch.inference_mode(), warnings.catch_warnings():
            # TorchScript is what Triton's backend loads; that newer formats exist is not news at each build.
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                source.module(), example_kwarg_inputs=_example(source), check_trace=False, strict=False
            )
            # Parameters become constants, and what only training needs goes.
            torch.jit.freeze(traced).save(str(path))
    except Exception as error:
        # Tracing runs the user's module: anything may be raised.
        raise ArtefactFailed(f"{source.model.name}: TorchScript cannot trace the module: {error}") from error
    return {"torch": torch.__version__}


def _compile(source: Source, path: Path) -> dict[str, Any]:
    import torch

    from modelyard_build.export import dynamic_shapes

    if source.release.name < FIRST_AHEAD_OF_TIME:
        raise ArtefactFailed(
            f"{source.model.name}: Triton {source.release.name} does not load ahead-of-time compiled archives; "
            f"releases from {FIRST_AHEAD_OF_TIME} do."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(
                source.module(), (), _example(source), dynamic_shapes=dynamic_shapes(source.model)
            )
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    except Exception as error:
        # As above; and Inductor's own errors have no common base.
        raise ArtefactFailed(f"{source.model.name}: Inductor cannot compile the module: {error}") from error
    # The server must have the same torch, and a CPU with these instructions.
    return {"torch": torch.__version__, "cpu_capability": torch.backends.cpu.get_cpu_capability()}


def _example(source: Source) -> dict[str, torch.Tensor]:
    import torch

    from modelyard_build.export import traced_example

    arrays = traced_example(source.model, source.files)
    return {tensor.name: torch.from_numpy(arrays[tensor.name]) for tensor in source.model.inputs}


class TorchScriptRunner:
    """Runs a TorchScript file in this process, on the CPU, as the backend does."""

    def __init__(self, path: Path, model: Model) -> None:
        import torch

        self._model = model
        try:
            self._module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise ArtefactFailed(f"torch {torch.__version__} does not load {path.name}: {error}") from error

    def __call__(self, inputs: Arrays) -> Arrays:
        """Runs one batch; every tensor has the batch as its first dimension."""
        return _run(self._module, self._model, inputs)


class AheadOfTimeRunner:
    """Runs a compiled archive in this process."""

    def __init__(self, path: Path, model: Model) -> None:
        import torch

        self._model = model
        try:
            self._compiled = torch._inductor.aoti_load_package(str(path))
        except RuntimeError as error:
            raise ArtefactFailed(f"torch {torch.__version__} does not load {path.name}: {error}") from error

    def __call__(self, inputs: Arrays) -> Arrays:
        """Runs one batch; every tensor has the batch as its first dimension."""
        return _run(self._compiled, self._model, inputs)


def _run(compiled: Callable[..., Any], model: Model, inputs: Arrays) -> Arrays:
    import torch

    with torch.inference_mode():
        outputs = compiled(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    sequence = outputs if isinstance(outputs, tuple | list) else (outputs,)
    return {tensor.name: value.numpy() for tensor, value in zip(model.outputs, sequence, strict=True)}


TARGET = PyTorch()
