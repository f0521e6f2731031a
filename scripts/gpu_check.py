"""What this machine's GPU does with ResNet-50 and BERT-base, through every runtime that is installed.

    python scripts/gpu_check.py

Needs no network: the weights are random, the architectures the real ones. Prints a table (stderr) and JSON (stdout).
Each part runs in a process of its own, so that one that crashes takes nothing with it; one that cannot run says why.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parent.parent
# Runs from a bare checkout, too.
sys.path[:0] = [str(ROOT / room) for room in ("build", "server", "clients", "scripts")]

BATCH = 32
TOKENS = 128
WARMUP_RUNS = 10
LEAST_RUNS = 20
MEASURED_S = 3.0
PART_LIMIT_S = 300
# Triton's names of what the graphs take, by numpy's kind.
DTYPES = {"f": "FP16", "i": "INT64"}
NO_GPU = "No NVIDIA GPU here (the driver finds none): nothing to check. The build and its tests need none."

Arrays: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One network in one precision through one runtime.

    Attributes:
        part: the runtime.
        network: the network; empty where the whole part could not run.
        precision: in what most of it computes.
        milliseconds: the median time of a batch of 32 whose data is on the GPU.
        items_per_s: the items of a batch over that time.
        min_cosine: the least cosine similarity of an item's answer to PyTorch's in float32.
        note: why it could not run, or what is worth knowing.
    """

    part: str
    network: str
    precision: str
    milliseconds: float | None = None
    items_per_s: float | None = None
    min_cosine: float | None = None
    note: str = ""


class CannotRun(Exception):
    """A part cannot run here; the message says why, in one line."""


# Pure parts


def table(rows: Sequence[Row]) -> str:
    """The rows for people, in columns."""
    lines = [("runtime", "network", "precision", "ms/batch", "items/s", "min cosine", "")]
    for row in rows:
        figures = (shown(row.milliseconds, 2), shown(row.items_per_s, 0), shown(row.min_cosine, 5))
        lines.append((row.part, row.network, row.precision, *figures, row.note))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)).rstrip() for line in lines
    )


def shown(value: float | None, digits: int) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def one_line(error: BaseException) -> str:
    """The first line of an error; of a foreign one with its kind, for those that say little."""
    kind = type(error).__name__
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    ours = isinstance(error, CannotRun) or type(error).__module__.startswith("modelyard_")
    return (line if ours and line else f"{kind}: {line}" if line else kind)[:300]


def ended(part: str, returncode: int, last: str) -> Row:
    """The row of a part that gave no outcome."""
    how = f"was ended by signal {-returncode}" if returncode < 0 else f"ended with status {returncode}"
    return Row(part, "", "", note=f"{how}: {last}" if last else how)


# Networks


@dataclass(frozen=True)
class Network:
    """A real architecture with random weights.

    Attributes:
        name: as it is known.
        make: gives the module, float32, in eval mode; its `forward` takes the inputs by name and returns one tensor.
        inputs: gives a batch, as numpy arrays; floats are float32.
        width: the numbers in the answer to an item.
    """

    name: str
    make: Callable[[], Any]
    inputs: Callable[[], Arrays]
    width: int


def make_resnet() -> Any:
    """ResNet-50: float [batch, 3, 224, 224] -> float [batch, 1000]."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = ResNetForImageClassification(ResNetConfig(num_labels=1000))

        def forward(self, pixels: torch.Tensor) -> Any:
            return self.model(pixels).logits

    torch.manual_seed(0)
    return Classifier().eval()


def make_bert() -> Any:
    """BERT-base: int64 [batch, 128] twice -> float [batch, 768]."""
    import torch
    from transformers import BertConfig, BertModel

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = BertModel(BertConfig())

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).pooler_output

    torch.manual_seed(0)
    return Encoder().eval()


def pixels() -> Arrays:
    """A batch of noise."""
    import numpy as np

    return {"pixels": np.random.default_rng(0).standard_normal((BATCH, 3, 224, 224), dtype=np.float32)}


def tokens() -> Arrays:
    """A batch of token rows without padding."""
    import numpy as np

    ids = np.random.default_rng(0).integers(1000, 30000, (BATCH, TOKENS))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


NETWORKS = (
    Network("ResNet-50", make_resnet, pixels, 1000),
    Network("BERT-base, 128 tokens", make_bert, tokens, 768),
)


def graph_path(folder: Path, network: Network) -> Path:
    """Where the ONNX graph in float16 lies."""
    return folder / f"{network.name.split(',')[0]}.fp16.onnx"


def half(arrays: Mapping[str, Any]) -> Arrays:
    """Floats as the float16 graph takes them."""
    return {name: array.astype("float16") if array.dtype.kind == "f" else array for name, array in arrays.items()}


def reference(network: Network) -> Any:
    """PyTorch's float32 answer, computed on the GPU without TF32."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    inputs = {name: torch.from_numpy(array).cuda() for name, array in network.inputs().items()}
    with torch.inference_mode():
        return network.make().cuda()(**inputs).float().cpu().numpy()


def measured(part: str, network: Network, precision: str, run: Callable[[], Any], fetch: Callable[[Any], Any]) -> Row:
    """Times a run that ends when the GPU has ended, and holds its answer against the reference.

    Args:
        part: the runtime.
        network: what is run.
        precision: in what it computes.
        run: runs one batch.
        fetch: gives the answer out of what `run` returns, as a numpy array.
    """
    import numpy as np

    for _ in range(WARMUP_RUNS):
        run()
    seconds: list[float] = []
    while len(seconds) < LEAST_RUNS or sum(seconds) < MEASURED_S:
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    got, expected = np.asarray(fetch(run()), dtype=np.float64), reference(network).astype(np.float64)
    norms = np.linalg.norm(got, axis=-1) * np.linalg.norm(expected, axis=-1)
    cosine = float(((got * expected).sum(-1) / norms).min())
    median = statistics.median(seconds)
    return Row(part, network.name, precision, median * 1000, BATCH / median, cosine)


# Parts


def export(folder: Path) -> Iterator[Row]:
    """The float16 graphs that the other parts run."""
    import torch

    for network in NETWORKS:
        example = {name: torch.from_numpy(array[:3]) for name, array in half(network.inputs()).items()}
        batch = torch.export.Dim("batch", min=1, max=BATCH)
        program = torch.onnx.export(
            network.make().half(),
            (),
            kwargs=example,
            dynamo=True,
            output_names=["answer"],
            dynamic_shapes={name: {0: batch} for name in example},
            verbose=False,
        )
        program.save(graph_path(folder, network))  # type: ignore[union-attr]
        yield Row("torch.onnx", network.name, "fp16", note="exported")


def torch_compile(folder: Path) -> Iterator[Row]:
    """PyTorch's own compiler, with CUDA graphs."""
    import torch

    if not torch.cuda.is_available():
        raise CannotRun(f"torch {torch.__version__} finds no GPU; install a CUDA build of it")
    for network in NETWORKS:
        for precision, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
            module = torch.compile(network.make().to("cuda", dtype), mode="reduce-overhead")
            given = {name: torch.from_numpy(array).cuda() for name, array in network.inputs().items()}
            given = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in given.items()}

            def run(module: Any = module, given: Any = given) -> Any:
                with torch.inference_mode():
                    answer = module(**given)
                    torch.cuda.synchronize()
                return answer

            yield measured("torch.compile", network, precision, run, lambda answer: answer.float().cpu().numpy())


def onnxruntime_cuda(folder: Path) -> Iterator[Row]:
    """ONNX Runtime's CUDA provider, with inputs and outputs on the GPU."""
    import onnxruntime

    provider = "CUDAExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise CannotRun(f"onnxruntime {onnxruntime.__version__} has no CUDA provider; install onnxruntime-gpu")
    for network in NETWORKS:
        session = onnxruntime.InferenceSession(str(graph_path(folder, network)), providers=[provider])
        if session.get_providers()[0] != provider:
            raise CannotRun("the CUDA provider did not load: CUDA's and cuDNN's libraries must match onnxruntime's")
        binding = session.io_binding()
        for name, array in half(network.inputs()).items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
        binding.bind_output("answer", "cuda")

        def run(session: Any = session, binding: Any = binding) -> Any:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            return binding

        title = f"ONNX Runtime {onnxruntime.__version__}"
        yield measured(title, network, "fp16", run, lambda bound: bound.copy_outputs_to_cpu()[0])


def tensorrt(folder: Path) -> Iterator[Row]:
    """TensorRT, built here."""
    return engines("tensorrt", folder, ())


def tensorrt_rtx(folder: Path) -> Iterator[Row]:
    """TensorRT-RTX, built for this GPU: its portable engines leave the data centre's compute capabilities out."""
    from modelyard_build.tensorrt_engine.job import CURRENT

    return engines("tensorrt_rtx", folder, (CURRENT,))


def engines(module: str, folder: Path, compute_capabilities: tuple[str, ...]) -> Iterator[Row]:
    """An engine of each network, built and run as the build does it."""
    from modelyard_build.tensorrt_engine.library import LIBRARIES, installed
    from modelyard_build.tensorrt_engine.runner import Runner

    library = LIBRARIES[module]
    if not installed(library):
        raise CannotRun(f"{module} is not installed (extra {library.extra})")
    for network in NETWORKS:
        started = time.monotonic()
        engine = build_engine(module, folder, network, compute_capabilities)
        seconds = time.monotonic() - started
        prepared, outputs = Runner(library, engine).prepare(half(network.inputs()))

        def run(prepared: Callable[[], None] = prepared, outputs: Arrays = outputs) -> Any:
            prepared()
            return outputs["answer"]

        row = measured(library.title, network, "fp16", run, lambda answer: answer.float().cpu().numpy())
        yield dataclasses.replace(row, note=f"engine of {engine.stat().st_size >> 20} MiB in {seconds:.0f} s")


def build_engine(module: str, folder: Path, network: Network, compute_capabilities: tuple[str, ...]) -> Path:
    """Builds an engine for the batch that is measured."""
    from modelyard_build.tensorrt_engine import builder
    from modelyard_build.tensorrt_engine.job import Binding, Job
    from modelyard_build.tensorrt_engine.profiles import Profile, Shapes

    shapes = {name: array.shape for name, array in network.inputs().items()}
    dtypes = {name: DTYPES[array.dtype.kind] for name, array in network.inputs().items()}
    inputs = [Binding(name, "input", dtypes[name], (-1, *shape[1:])) for name, shape in shapes.items()]
    profile = Profile({name: Shapes((1, *shape[1:]), shape, shape) for name, shape in shapes.items()})
    engine = graph_path(folder, network).with_suffix(f".{module}.plan")
    job = Job(
        library=module,
        graph=str(graph_path(folder, network)),
        engine=str(engine),
        bindings=(*inputs, Binding("answer", "output", "FP16", (-1, network.width))),
        profiles=(profile,),
        version_compatible=False,
        hardware_compatibility="none",
        compute_capabilities=compute_capabilities,
        workspace_bytes=None,
        timing_cache=str(folder),
        layers="",
    )
    builder.build(job, network.name, lambda line: print(line, file=sys.stderr), lambda version: None)
    return engine


def embedded_triton(folder: Path) -> Iterator[Row]:
    """The embedded Triton's onnxruntime backend with KIND_GPU: over gRPC, so with the copies that a client pays."""
    import onnxruntime

    from modelyard_client import Client
    from modelyard_ops.building import server_on_free_ports

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise CannotRun(f"onnxruntime {onnxruntime.__version__} has no CUDA provider; install onnxruntime-gpu")
    network = NETWORKS[0]
    repository = folder / "repository"
    version = repository / "resnet" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").symlink_to(graph_path(folder, network))
    (repository / "resnet" / "config.pbtxt").write_text(
        f'backend: "onnxruntime"\nmax_batch_size: {BATCH}\ninstance_group [ {{ count: 1, kind: KIND_GPU }} ]\n'
        'input [ { name: "pixels", data_type: TYPE_FP16, dims: [ 3, 224, 224 ] } ]\n'
        'output [ { name: "answer", data_type: TYPE_FP16, dims: [ 1000 ] } ]\n'
    )
    inputs = half(network.inputs())
    with server_on_free_ports(repository) as server, Client(f"grpc://{server.grpc_url}", deadline=60) as client:
        yield measured(
            "embedded Triton",
            network,
            "fp16",
            lambda: client.infer("resnet", inputs),
            lambda answer: answer["answer"],
        )


PARTS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "torch.onnx": export,
    "torch.compile": torch_compile,
    "ONNX Runtime": onnxruntime_cuda,
    "TensorRT": tensorrt,
    "TensorRT-RTX": tensorrt_rtx,
    "embedded Triton": embedded_triton,
}


# Running them


def run_part(part: str, folder: Path) -> None:
    """Runs one part in this process; each row is a line of JSON in the part's own file."""
    with rows_path(folder, part).open("a", encoding="utf-8") as file:
        try:
            for row in PARTS[part](folder):
                file.write(json.dumps(dataclasses.asdict(row)) + "\n")
                file.flush()
        except Exception as error:  # noqa: BLE001  # whatever a runtime raises is this part's outcome
            file.write(json.dumps(dataclasses.asdict(Row(part, "", "", note=one_line(error)))) + "\n")


def rows_path(folder: Path, part: str) -> Path:
    """Where a part's rows lie."""
    return folder / f"{part}.jsonl"


def rows_of(part: str, folder: Path) -> list[Row]:
    """Runs one part in a process of its own."""
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    log = folder / f"{part}.log"
    try:
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(command, check=False, stdout=file, stderr=file, timeout=PART_LIMIT_S)
        returncode = done.returncode
    except subprocess.TimeoutExpired:
        return [*written(folder, part), Row(part, "", "", note=f"stopped after {PART_LIMIT_S} s")]
    last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
    return [*written(folder, part), *([ended(part, returncode, last[:200])] if returncode else [])]


def written(folder: Path, part: str) -> list[Row]:
    """The rows that a part has written, however it ended."""
    path = rows_path(folder, part)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def main() -> None:
    """Checks this machine, or says that there is no GPU to check."""
    parser = argparse.ArgumentParser(description="Checks what this machine's GPU does through every runtime.")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        run_part(arguments.part, arguments.folder)
        return
    from modelyard_build.repository.gpu import find_gpu

    gpu = find_gpu()
    if gpu is None:
        print(NO_GPU)
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="modelyard-gpu-") as folder:
        for part in PARTS:
            print(f"{part} ...", file=sys.stderr)
            rows += rows_of(part, Path(folder))
    print(f"\n{gpu.name}, compute capability {gpu.compute_capability}, batch {BATCH}\n{table(rows)}\n", file=sys.stderr)
    print(
        json.dumps(
            {"gpu": dataclasses.asdict(gpu), "batch": BATCH, "rows": list(map(dataclasses.asdict, rows))}, indent=2
        )
    )


if __name__ == "__main__":
    main()
