"""The environment that Triton is started in, and its backend directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard_server.install import install_triton
from modelyard_server.launch import ServerOptions, asks_for_gpu, compose_backends, triton_command, triton_environment
from support.triton import write_model


@pytest.fixture(autouse=True)
def visible_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tests or this machine have hidden."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")


def hidden(repository: Path, config_name: str | None = None, gpus: bool | None = None) -> bool:
    """Whether GPUs are hidden from a server of this repository."""
    options = ServerOptions(repository, config_name=config_name, gpus=gpus)
    environment = triton_environment(install_triton(), options, "test")
    return environment.get("CUDA_VISIBLE_DEVICES") == ""


def test_gpus_are_hidden_from_a_runtime_that_cannot_use_them(tmp_path: Path) -> None:
    """With the CPU build of ONNX Runtime, KIND_AUTO must mean the CPU also on a machine with a GPU."""
    write_model(tmp_path, "identity")
    assert hidden(tmp_path)


def test_gpus_are_seen_where_a_config_asks_for_one(tmp_path: Path) -> None:
    """A plan's model, served or under the chosen config name, makes the GPUs visible."""
    folder = write_model(tmp_path, "encoder")
    (folder / "configs").mkdir()
    (folder / "configs" / "h100.pbtxt").write_text('backend: "tensorrt"')
    assert hidden(tmp_path)
    assert not hidden(tmp_path, config_name="h100")


def test_what_is_asked_for_wins(tmp_path: Path) -> None:
    """GPUs that are not to be used are hidden though a config asks for one; those that are, are seen."""
    folder = write_model(tmp_path, "encoder")
    assert not hidden(tmp_path, gpus=True)
    (folder / "config.pbtxt").write_text('backend: "tensorrt"')
    assert hidden(tmp_path, gpus=False)


@pytest.mark.parametrize(
    ("configs", "cuda", "seen"),
    [
        (['backend: "python" instance_group [ { kind: KIND_AUTO } ]'], True, True),
        (['platform: "pytorch_libtorch"', 'platform: "ensemble"'], True, True),
        (['backend: "python" instance_group [ { kind: KIND_AUTO } ]'], False, False),
        # Which would be placed on a GPU that its library cannot use.
        (['backend: "pytorch"', 'backend: "onnxruntime"'], True, False),
        (['backend: "pytorch"', 'backend: "openvino" instance_group [ { kind: KIND_CPU } ]'], True, True),
        (['backend: "python" instance_group [ { kind: KIND_CPU } ]'], True, False),
    ],
)
def test_gpus_are_seen_where_pytorch_can_use_them_and_nobody_else_must(
    tmp_path: Path, configs: list[str], cuda: bool, seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CUDA build of torch is known by what it was installed with; none is where these tests run."""
    needed = ["nvidia-cuda-runtime==13.0; platform_system == 'Linux'"] if cuda else ["filelock"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: needed)
    for number, config in enumerate(configs):
        write_model(tmp_path, f"model{number}")
        (tmp_path / f"model{number}" / "config.pbtxt").write_text(config)
    assert hidden(tmp_path) is not seen


@pytest.mark.parametrize(
    ("config", "asks"),
    [
        ("instance_group [ { kind: KIND_GPU } ]", True),
        ('backend: "tensorrt"', True),
        ('backend: "tensorrt_rtx"', True),
        ("platform: 'tensorrt_plan'", True),
        ('backend: "onnxruntime"', False),
        ('backend: "onnxruntime" # not KIND_GPU', False),
        ('gpu_execution_accelerator : [ { name : "tensorrt" } ]', False),
    ],
)
def test_what_asks_for_a_gpu(config: str, asks: bool) -> None:
    """A kind or a backend that is for GPUs alone; comments and accelerators, which a CPU ignores, do not."""
    assert asks_for_gpu(config) == asks


def loads(options: ServerOptions) -> list[str]:
    """What tritonserver is told to load."""
    command = triton_command(install_triton(), options, options.repository, "test")
    return [argument.partition("=")[2] for argument in command if argument.startswith("--load-model=")]


def test_what_is_built_is_loaded(tmp_path: Path) -> None:
    """Everything, or by name where something is not built, or what was asked for."""
    write_model(tmp_path, "one")
    write_model(tmp_path, "two")
    assert loads(ServerOptions(tmp_path)) == ["*"]
    write_model(tmp_path, "three", None)
    assert loads(ServerOptions(tmp_path)) == ["one", "two"]
    assert loads(ServerOptions(tmp_path, models=("two",))) == ["two"]


def test_every_backend_is_in_the_backend_directory(tmp_path: Path) -> None:
    """Triton finds each by its name, as a Python-based backend."""
    compose_backends(install_triton(), ServerOptions(tmp_path), tmp_path / "backends")
    names = {model.parent.name for model in (tmp_path / "backends").glob("*/model.py")}
    assert names == {"onnxruntime", "openvino", "pytorch", "tensorrt", "tensorrt_rtx"}
