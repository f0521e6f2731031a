"""Engines, built for real by TensorRT-RTX, which needs no GPU for it; and every way in which that fails."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import psutil
import pytest
from onnx import TensorProto

from modelyard_build import sources
from modelyard_build.assets import fetch
from modelyard_build.errors import ArtefactFailed, BuildError
from modelyard_build.export import export
from modelyard_build.model import Model, Tensor
from modelyard_build.models.text_embedder import ENCODER
from modelyard_build.repository.gpu import Gpu
from modelyard_build.repository.hardware import Hardware
from modelyard_build.repository.releases import RELEASE_VARIABLE
from modelyard_build.targets import tensorrt, tensorrt_rtx
from modelyard_build.targets.target import Candidate
from modelyard_build.tensorrt_engine import builder, memory
from modelyard_build.tensorrt_engine import target as engine_target
from modelyard_build.tensorrt_engine.job import Job
from modelyard_build.tensorrt_engine.options import EngineOptions
from modelyard_build.tensorrt_engine.profiles import Profile, one_profile, short_and_long
from support.engine_graphs import MLP, Lines, source_of, write_mixed, write_mlp, write_quantised

TARGET = tensorrt_rtx.TARGET
CANDIDATES: dict[str, Candidate] = {candidate.precision: candidate for candidate in TARGET.candidates}
FP32 = CANDIDATES["fp32"]

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed (extra tensorrt-rtx)"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; no GPU, whatever the machine has."""
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MODELYARD_DEVICE", "cpu")
    return tmp_path / "cache"


@pytest.fixture(name="folder")
def empty_folder(tmp_path: Path) -> Path:
    """The folder that a version's files are written to."""
    folder = tmp_path / "version"
    folder.mkdir()
    return folder


def workers() -> list[psutil.Process]:
    """The builder processes that this one has started."""
    return [
        child for child in psutil.Process().children() if "modelyard_build.tensorrt_engine.worker" in child.cmdline()
    ]


# What is built


@needs_library
def test_an_engine_and_its_record(tmp_path: Path, folder: Path) -> None:
    """One file under the candidate's name, and in the record what a linter and a server must know of it."""
    record = TARGET.write(FP32, source_of(MLP, write_mlp(tmp_path / "mlp.onnx")), folder)
    assert [path.name for path in folder.iterdir()] == ["model.fp32.rtx.plan"]
    assert record["engine_bytes"] == (folder / FP32.filename).stat().st_size
    assert record["bindings"] == [
        {"name": "x", "mode": "input", "dtype": "FP32", "dims": [-1, -1, 16]},
        {"name": "y", "mode": "output", "dtype": "FP32", "dims": [-1, -1, 16]},
    ]
    assert record["profiles"] == [{"x": {"min": [1, 2, 16], "opt": [8, 12, 16], "max": [16, 24, 16]}}]
    assert record["compute_capabilities"] == ["8.0", "8.6", "8.9", "12.0"]
    assert (record["library"], record["triton"]) == ("tensorrt_rtx", "26.06")
    assert record["version"].startswith("1.")
    assert record == json.loads(json.dumps(record))


@needs_library
def test_the_recorded_memory_is_the_builder_s(tmp_path: Path, folder: Path) -> None:
    """Not that of the build that started it, which may be larger by a whole model."""
    ballast = b"x" * (1 << 30)
    record = TARGET.write(FP32, source_of(MLP, write_mlp(tmp_path / "mlp.onnx")), folder)
    assert record["engine_bytes"] < record["peak_memory_bytes"] < len(ballast)


@needs_library
@pytest.mark.parametrize(
    ("precision", "dtype", "recorded"), [("fp16", TensorProto.FLOAT16, "FP16"), ("bf16", TensorProto.BFLOAT16, "BF16")]
)
def test_a_network_has_the_precision_of_its_graph(
    tmp_path: Path, folder: Path, precision: str, dtype: int, recorded: str
) -> None:
    """Strongly typed: a graph cast to half stays so, with float32 in and out, and no flag says it again."""
    graph = write_mlp(tmp_path / "mlp.onnx", dtype)
    record = TARGET.write(CANDIDATES[precision], source_of(MLP, graph), folder)
    assert record["precisions"][recorded] >= 3
    assert {binding["dtype"] for binding in record["bindings"]} == {"FP32"}


@needs_library
@pytest.mark.parametrize(
    ("precision", "dtype", "recorded"),
    [("int8", TensorProto.INT8, "INT8"), ("fp8", TensorProto.FLOAT8E4M3FN, "FP8")],
)
def test_a_quantised_graph_builds(tmp_path: Path, folder: Path, precision: str, dtype: int, recorded: str) -> None:
    """Explicit quantisation: the scales are the graph's, no calibrator is asked."""
    graph = write_quantised(tmp_path / "mlp.onnx", dtype)
    record = TARGET.write(CANDIDATES[precision], source_of(MLP, graph), folder)
    assert record["precisions"][recorded] == 2


@needs_library
def test_a_real_encoder_becomes_an_engine(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MiniLM as it is exported, in float32, for every batch and length that is declared."""
    monkeypatch.delenv("MODELYARD_CACHE")
    files = fetch(ENCODER.assets, lambda line: None)
    graph = tmp_path / "encoder.onnx"
    onnx.save(export(ENCODER, ENCODER.load(files), files), graph)
    record = TARGET.write(FP32, source_of(ENCODER, graph), folder)
    assert record["profiles"][0]["input_ids"] == {"min": [1, 3], "opt": [16, 128], "max": [32, 256]}
    assert record["engine_bytes"] > graph.stat().st_size * 0.9
    assert set(record["precisions"]) <= {"FP32", "INT64", "INT32", "BOOL"}


@needs_library
def test_every_profile_is_built_and_recorded(tmp_path: Path, folder: Path) -> None:
    """instance_group.profile lists as many as the record has."""
    target = tensorrt_rtx.TensorRTRTX(EngineOptions(profiles=short_and_long))
    record = target.write(FP32, source_of(MLP, write_mlp(tmp_path / "mlp.onnx")), folder)
    assert [profile["x"]["max"] for profile in record["profiles"]] == [[16, 24, 16], [16, 12, 16]]


@needs_library
def test_chosen_compute_capabilities_are_recorded(tmp_path: Path, folder: Path) -> None:
    """An engine for one kind of GPU says so, and one for an unknown kind is refused with those that there are."""
    source = source_of(MLP, write_mlp(tmp_path / "mlp.onnx"))
    ada = tensorrt_rtx.TensorRTRTX(EngineOptions(compute_capabilities=("8.9",)))
    assert ada.write(FP32, source, folder)["compute_capabilities"] == ["8.9"]
    with pytest.raises(ArtefactFailed, match=r"has no compute capability 3\.5; it has .*SM89"):
        tensorrt_rtx.TensorRTRTX(EngineOptions(compute_capabilities=("3.5",))).write(FP32, source, folder)


@needs_library
def test_a_dtype_that_the_gpu_lacks_is_refused(tmp_path: Path, folder: Path) -> None:
    """The builder's own reason comes through: fp8 is not for 8.0."""
    target = tensorrt_rtx.TensorRTRTX(EngineOptions(compute_capabilities=("8.0",)))
    source = source_of(MLP, write_quantised(tmp_path / "mlp.onnx", TensorProto.FLOAT8E4M3FN))
    with pytest.raises(ArtefactFailed, match=r"sm80.*fp8"):
        target.write(CANDIDATES["fp8"], source, folder)
    assert list(folder.iterdir()) == []


# The timing cache


@needs_library
def test_the_timing_cache_is_kept_and_read_again(tmp_path: Path, folder: Path, own_cache: Path) -> None:
    """One file for the library's version and the device; a second build says nothing about it."""
    source = source_of(MLP, write_mlp(tmp_path / "mlp.onnx"))
    version = TARGET.write(FP32, source, folder)["version"]
    [path] = (own_cache / "tensorrt").iterdir()
    assert path.name == f"tensorrt-rtx-{version}-cpu.timing"
    lines = Lines()
    TARGET.write(FP32, source_of(MLP, tmp_path / "mlp.onnx", lines), folder)
    assert lines.lines == []


@needs_library
def test_a_damaged_timing_cache_is_made_again(tmp_path: Path, folder: Path, own_cache: Path) -> None:
    """The build goes on without it, one line says so, and the next build has a whole one."""
    graph = write_mlp(tmp_path / "mlp.onnx")
    TARGET.write(FP32, source_of(MLP, graph), folder)
    [path] = (own_cache / "tensorrt").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    lines = Lines()
    TARGET.write(FP32, source_of(MLP, graph, lines), folder)
    assert len(lines.lines) == 1
    assert f"{path} is damaged: it is ignored and made again" in lines.lines[0]
    assert path.stat().st_size == len(whole)
    again = Lines()
    TARGET.write(FP32, source_of(MLP, graph, again), folder)
    assert again.lines == []


# What is refused


@needs_library
def test_an_operator_that_the_library_lacks_is_named(tmp_path: Path, folder: Path) -> None:
    """Node, operator and reason, for one of ONNX's own and for a custom one."""
    for operator in ("Det", "Sparkle"):
        source = source_of(MLP, write_mlp(tmp_path / "mlp.onnx", operator=operator))
        with pytest.raises(ArtefactFailed, match=f"node 'activation', operator {operator}, number 3 of"):
            TARGET.write(FP32, source, folder)
    assert list(folder.iterdir()) == []


@needs_library
def test_mixed_dtypes_are_refused_with_the_library_s_reason(tmp_path: Path, folder: Path) -> None:
    """A half cast graph fails at the node where the dtypes meet."""
    with pytest.raises(ArtefactFailed, match=r"node 'mixed', operator MatMul.*must have same input types") as caught:
        TARGET.write(FP32, source_of(MLP, write_mixed(tmp_path / "mixed.onnx")), folder)
    assert "cudaError" not in str(caught.value)


@needs_library
@pytest.mark.parametrize("content", [b"", b"not a graph", "cut"])
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, folder: Path, content: bytes | str) -> None:
    """Empty, foreign or cut off: said of the file, with how to check it."""
    path = write_mlp(tmp_path / "mlp.onnx")
    path.write_bytes(path.read_bytes()[:200] if isinstance(content, str) else content)
    with pytest.raises(ArtefactFailed, match=r"mlp\.onnx"):
        TARGET.write(FP32, source_of(MLP, path), folder)
    assert list(folder.iterdir()) == []


@needs_library
@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (Tensor("x", "FP64", (16, 16)), "input 'x' is FP32 .*declared is FP64"),
        (Tensor("tokens", "FP32", (16, 16)), "has no input 'tokens'; it has x"),
    ],
)
def test_bindings_are_held_against_the_declaration(tmp_path: Path, folder: Path, declared: Tensor, said: str) -> None:
    """What Triton would refuse to load, or read wrongly, is not built."""
    model = dataclasses.replace(MLP, inputs=(declared,))
    with pytest.raises(ArtefactFailed, match=said):
        TARGET.write(FP32, source_of(model, write_mlp(tmp_path / "mlp.onnx")), folder)


def test_a_profile_below_max_batch_size_is_refused_before_anything_starts(folder: Path) -> None:
    """The graph is not even asked for."""

    def too_small(model: Model) -> tuple[Profile, ...]:
        return one_profile(dataclasses.replace(model, max_batch_size=8))

    def no_graph(precision: str) -> Path:
        raise AssertionError(precision)

    target = tensorrt_rtx.TensorRTRTX(EngineOptions(profiles=too_small))
    with pytest.raises(ArtefactFailed, match=r"largest are x \[16, 24, 16\], the profiles end at x \[8, 24, 16\]"):
        target.write(FP32, source_of(MLP, no_graph), folder)


def test_options_of_the_other_library_are_refused(folder: Path) -> None:
    """Each library says what it has instead."""
    source = source_of(MLP, folder / "none.onnx")
    rtx = tensorrt_rtx.TensorRTRTX(EngineOptions(version_compatible=True))
    with pytest.raises(ArtefactFailed, match="TensorRT-RTX has neither version_compatible"):
        rtx.write(FP32, source, folder)
    plain = tensorrt.TensorRT(EngineOptions(compute_capabilities=("8.9",)))
    with pytest.raises(ArtefactFailed, match="TensorRT builds for the GPU that it runs on"):
        plain.write(plain.candidates[0], source, folder)


# The builder as a process


@needs_library
def test_a_builder_that_takes_too_much_memory_is_stopped(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 MiB are less than the library itself; the error names the setting, and nothing is left."""
    monkeypatch.setenv(memory.VARIABLE, "100")
    with pytest.raises(ArtefactFailed, match=rf"took \d+ MiB of memory, allowed are 100.*{memory.VARIABLE}"):
        TARGET.write(FP32, source_of(MLP, write_mlp(tmp_path / "mlp.onnx")), folder)
    assert list(folder.iterdir()) == []
    assert workers() == []


@needs_library
@pytest.mark.parametrize(
    ("sent", "said"), [(signal.SIGKILL, "killed .SIGKILL., most likely by the kernel"), (signal.SIGSEGV, "SIGSEGV")]
)
def test_a_builder_that_dies_is_an_error_that_says_how(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals, said: str
) -> None:
    """Killed or crashed: the build lives on to tell."""
    at_start(monkeypatch, lambda: workers()[0].send_signal(sent))
    with pytest.raises(ArtefactFailed, match=said):
        TARGET.write(FP32, source_of(MLP, write_mlp(tmp_path / "mlp.onnx")), folder)
    assert list(folder.iterdir()) == []


@needs_library
def test_ctrl_c_ends_the_builder_and_leaves_no_file(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt passes through; the builder does not live on."""
    at_start(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        TARGET.write(FP32, source_of(MLP, write_mlp(tmp_path / "mlp.onnx")), folder)
    assert list(folder.iterdir()) == []
    assert workers() == []


def at_start(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Has something happen as soon as the builder's process has its library loaded."""
    build = builder.build

    def acting(job: Job, title: str, say: Callable[[str], None], accept: Callable[[str], None]) -> dict[str, Any]:
        def act(version: str) -> None:
            action()

        return build(job, title, say, act)

    monkeypatch.setattr(builder, "build", acting)


@needs_library
def test_a_builder_ends_with_the_build_that_started_it() -> None:
    """A killed build closes the pipe; the worker, still before its job, does not stay."""
    process = subprocess.Popen(
        [sys.executable, "-m", "modelyard_build.tensorrt_engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.communicate(timeout=60)
    assert process.returncode == 1


# TensorRT's own path: its wheels cannot be installed from PyPI alone, so TensorRT-RTX stands in under its name, and the
# GPU is a name, too.


@pytest.fixture(name="plain_graph")
def tensorrt_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `tensorrt` for the builder's process, a GPU of compute capability 9.0 for the target; gives a graph."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "tensorrt.py").write_text("from tensorrt_rtx import *\nfrom tensorrt_rtx import __version__\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.delenv(RELEASE_VARIABLE, raising=False)
    monkeypatch.setattr(engine_target, "hardware", lambda: Hardware("gpu-sm90", 1, False, Gpu("NVIDIA H100", "9.0")))
    return write_mlp(tmp_path / "mlp.onnx")


@needs_library
def test_a_foreign_tensorrt_is_refused_before_the_build(plain_graph: Path, folder: Path) -> None:
    """As soon as the library has told its version, not after the minutes that an engine takes."""
    with pytest.raises(ArtefactFailed, match=r"the engine is of TensorRT 1\.7.* Triton 26\.06 has is not in the table"):
        tensorrt.TARGET.write(tensorrt.TARGET.candidates[0], source_of(MLP, plain_graph), folder)
    assert list(folder.iterdir()) == []
    assert workers() == []


@needs_library
def test_an_engine_that_does_not_load_is_not_kept(
    plain_graph: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the release's own image it is built, and loaded for the inspector's report; here no GPU loads it."""
    monkeypatch.setenv(RELEASE_VARIABLE, "26.06")
    with pytest.raises(ArtefactFailed, match="the engine that was just built does not load"):
        tensorrt.TARGET.write(tensorrt.TARGET.candidates[0], source_of(MLP, plain_graph), folder)
    assert list(folder.iterdir()) == []


# Where there is no library, or no GPU


def test_a_target_without_its_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names the extra and the container."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'modelyard[tensorrt-rtx]'" in TARGET.missing(FP32)
    assert "docker compose run --rm build" in tensorrt.TARGET.missing(tensorrt.TARGET.candidates[0])


def test_without_a_gpu_nothing_runs_and_tensorrt_does_not_build(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """TensorRT times kernels on the GPU; TensorRT-RTX does not, and is missing nothing."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert TARGET.missing(FP32) == ""
    assert tensorrt.TARGET.missing(tensorrt.TARGET.candidates[0]).endswith("there is none here")
    for target in (TARGET, tensorrt.TARGET):
        assert target.cannot_run(target.candidates[0]).endswith("there is none here")
        with pytest.raises(BuildError, match="there is none here"):
            target.runner(target.candidates[0], folder, MLP)


def test_file_names_stand_side_by_side() -> None:
    """All candidates of both targets share one version folder."""
    names = [candidate.filename for target in (TARGET, tensorrt.TARGET) for candidate in target.candidates]
    assert len(set(names)) == len(names) == 10
    assert "model.fp16.plan" in names


def test_what_builds_an_engine_decides_its_key() -> None:
    """A change of the worker, which no file of the target calls directly, makes a new artefact."""
    files: set[Path] = set()
    sources._follow(["targets.tensorrt"], files)
    assert {"worker.py", "network.py", "profiles.py", "options.py", "tensorrt.py"} <= {path.name for path in files}
