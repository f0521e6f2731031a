"""A version's files, made and proven in the cache, addressed by the hash of their inputs.

What stands there complete is not made again: an interrupted build goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard_build.assets import cache_dir, fetch
from modelyard_build.atomic import replacing
from modelyard_build.model import NUMPY_DTYPES, AnyModel, Array, Arrays, Axis, Ensemble, Model, PythonModel, Tensor
from modelyard_build.plan import Planned
from modelyard_build.progress import Progress, Stopwatch
from modelyard_build.repository import samples
from modelyard_build.repository.releases import Release
from modelyard_build.sources import pinned_assets

GOLDEN_ITEMS = 8
GRAPH = "graph"


@dataclass(frozen=True)
class Staged:
    """Files that are ready to be published.

    Attributes:
        planned: the model.
        files: the folder that becomes the version.
        beside: the folder with what stands beside the versions: golden samples, warmup, labels.
        graph: for a PyTorch model, the folder of its float32 ONNX graph.
        seconds: how long each step took when it was made.
    """

    planned: Planned
    files: Path
    beside: Path
    graph: Path
    seconds: dict[str, float]


def staged_folder(key: str) -> Path:
    """Where what a model's key decides is kept."""
    return cache_dir() / "build" / key


def stage(planned: Planned, release: Release, progress: Progress) -> Staged:
    """Makes what a model's key decides, or finds it made: its graph, its samples, a step's files.

    Raises:
        BuildError: of any kind; what was complete before is kept.
    """
    target = staged_folder(planned.key)
    if not target.is_dir():
        with new_folder(target) as partial:
            _make(planned, partial, release, progress)
    record = json.loads((target / "record.json").read_text())
    return Staged(planned, target / "files", target / "beside", target / GRAPH, record["seconds"])


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder that takes its name when the block ends well, and goes when it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    partial = Path(tempfile.mkdtemp(prefix=f".{os.getpid()}-", dir=target.parent))
    try:
        yield partial
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes what builds that were killed left unfinished; a number that another process has by now stays."""
    for partial in folder.glob(".*-*"):
        pid = partial.name[1:].partition("-")[0]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            shutil.rmtree(partial, ignore_errors=True)


def _make(planned: Planned, folder: Path, release: Release, progress: Progress) -> None:
    watch = Stopwatch(planned.model.name, progress)
    (folder / "files").mkdir()
    (folder / "beside").mkdir()
    with watch.step("fetch"):
        files = fetch(pinned_assets(planned.model), progress.say)
    if isinstance(planned.model, Model):
        _make_model(planned.model, files, folder, release, watch)
    elif isinstance(planned.model, PythonModel):
        _make_python_model(planned.model, files, folder, watch)
    samples.write_labels(folder / "beside", planned.model.outputs)
    (folder / "record.json").write_text(json.dumps({"seconds": watch.seconds}))


def _make_model(model: Model, files: Mapping[str, Path], folder: Path, release: Release, watch: Stopwatch) -> None:
    with watch.step("load"):
        # torch takes seconds to import; a build with nothing to do never gets here.
        from modelyard_build import export, given_graph, verify
        from modelyard_build.module_checks import examples_of
        from modelyard_build.targets import onnxruntime

        module = model.load(files)
    with watch.step("export"):
        if model.graph:
            proto = given_graph.take(model, files[model.graph])
        else:
            proto = export.export(model, module, files, model.translations() if model.translations else None)
        export.check_release(model, proto, release)
        (folder / GRAPH).mkdir()
        onnxruntime.write(proto, folder / GRAPH)
    with watch.step("samples"):
        longest = {axis.name: axis.max for axis in export.axes_of(model)}
        examples = examples_of(model, files, GOLDEN_ITEMS, {name: size // 2 for name, size in longest.items()})
        expected = verify.run_module(model, module, examples)
        write_golden(folder / "beside", rows(examples), rows(expected))
        samples.write_warmup(folder / "beside", warmup_sample(model, files))


def _make_python_model(model: PythonModel, files: Mapping[str, Path], folder: Path, watch: Stopwatch) -> None:
    with watch.step("copy"):
        shutil.copyfile(model.source, folder / "files" / "model.py")
        for name in model.files:
            (folder / "files" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(files[name], folder / "files" / name)
        if model.write:
            model.write(files, folder / "files")
    with watch.step("samples"):
        examples = model.examples(files, GOLDEN_ITEMS)
        inputs = rows(examples)
        # Alone, because a step may shape an answer after the items beside it.
        alone = [{name: array[None] for name, array in item.items()} for item in inputs]
        expected = [rows(model.reference(files, item))[0] for item in alone]
        write_golden(folder / "beside", inputs, expected)
        # What a step calls may not be loaded yet when it warms up; a stream and a sequence need more than a sample.
        if not (model.calls or model.decoupled or model.sequence_batching):
            samples.write_warmup(folder / "beside", warmup_sample(model, files))


def warmup_sample(model: Model | PythonModel, files: Mapping[str, Path]) -> Arrays:
    """One item, without the batch dimension: the largest that a PyTorch model takes, of a step the first example."""
    if isinstance(model, PythonModel):
        return rows(model.examples(files, GOLDEN_ITEMS))[0]
    axes = (dim for tensor in model.inputs for dim in tensor.dims if isinstance(dim, Axis))
    return rows(model.examples(files, 1, {axis.name: axis.max for axis in axes}))[0]


def rows(batch: Arrays) -> list[Arrays]:
    """A batch as items without the batch dimension."""
    count = len(next(iter(batch.values())))
    return [{name: array[index] for name, array in batch.items()} for index in range(count)]


def write_golden(folder: Path, inputs: list[Arrays], outputs: list[Arrays]) -> None:
    """Writes golden samples into a folder that has none."""
    path = folder / samples.GOLDEN
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(samples.golden_json(inputs, outputs))


def warmup_tensors(model: AnyModel, beside: Path) -> list[Tensor]:
    """The inputs for which a warmup file stands, with the dims that its size says."""
    if isinstance(model, Ensemble):
        return []
    found = []
    for tensor in model.inputs:
        path = beside / samples.WARMUP / tensor.name
        if path.is_file():
            found.append(Tensor(tensor.name, tensor.dtype, _dims_of(path, tensor)))
    return found


def _dims_of(path: Path, tensor: Tensor) -> tuple[int, ...]:
    """Fixed dims as declared; one variable dim follows from the file's size."""
    if tensor.dtype == "BYTES":
        return tensor.config_dims
    elements = path.stat().st_size // np.dtype(NUMPY_DTYPES[tensor.dtype]).itemsize
    fixed = int(np.prod([dim for dim in tensor.config_dims if dim != -1], dtype=np.int64))
    return tuple(elements // fixed if dim == -1 else dim for dim in tensor.config_dims)


def cached_arrays(name: str, compute: Callable[[], Arrays]) -> Arrays:
    """Arrays out of the cache, or computed and kept: PyTorch's answers to thousands of texts take a minute."""
    path = cache_dir() / "reference" / f"{name}.npz"
    if path.is_file():
        with np.load(path) as archive:
            return _restored(archive)
    arrays = compute()
    with replacing(path) as partial:
        np.savez(partial, **_storable(arrays))
    return arrays


def _storable(arrays: Arrays) -> Arrays:
    """The arrays as numpy stores them without pickle: of bytes all in a row, and how long each is."""
    found = {name: array for name, array in arrays.items() if array.dtype != np.object_}
    for name, array in arrays.items():
        if array.dtype == np.object_:
            elements = array.reshape(-1).tolist()
            found[f"{name}/bytes"] = np.frombuffer(b"".join(elements), np.uint8)
            found[f"{name}/lengths"] = np.array([len(element) for element in elements], np.int64).reshape(array.shape)
    return found


def _restored(archive: Mapping[str, Array]) -> Arrays:
    found = {name: archive[name] for name in archive if not name.endswith(("/bytes", "/lengths"))}
    for name in (key.removesuffix("/bytes") for key in archive if key.endswith("/bytes")):
        content, lengths = archive[f"{name}/bytes"].tobytes(), archive[f"{name}/lengths"]
        ends = np.cumsum(lengths.reshape(-1)).tolist()
        elements = [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        found[name] = np.array([*elements, b""], np.object_)[:-1].reshape(lengths.shape)
    return found
