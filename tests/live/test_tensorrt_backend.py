"""The backends for engines in the real Triton, on a machine without a GPU: each refuses with one clear sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from modelyard_server.process import TritonServer
from support.onnx_repository import tensors
from support.triton import write_model

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU here"),
]

X = tensors("input", x="TYPE_FP32 dims: [ 3 ]")
Y = tensors("output", y="TYPE_FP32 dims: [ 2 ]")
GPU = "instance_group [ { kind: KIND_GPU } ]"
NEEDS_GPU = (
    "the {} backend serves KIND_GPU only, and this instance is KIND_CPU: run it where an NVIDIA GPU is, or serve"
)
CASES = {
    "plan": (f'platform: "tensorrt_plan"\nmax_batch_size: 8\n{X}\n{Y}', NEEDS_GPU.format("tensorrt")),
    "tensorrt": (f'backend: "tensorrt"\nmax_batch_size: 8\n{X}\n{Y}', NEEDS_GPU.format("tensorrt")),
    "rtx": (f'backend: "tensorrt_rtx"\nmax_batch_size: 8\n{X}\n{Y}', NEEDS_GPU.format("tensorrt_rtx")),
    "nothing_listed": ('backend: "tensorrt_rtx"', NEEDS_GPU.format("tensorrt_rtx")),
    "kind_gpu": (f'backend: "tensorrt"\n{X}\n{Y}\n{GPU}', "has kind KIND_GPU but no GPUs are available"),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that serves."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "identity")
    return folder


@pytest.fixture(scope="module")
def client(serve: Callable[[Path], TritonServer], repository: Path) -> Any:
    """A client of a server over the repository."""
    return grpc.InferenceServerClient(serve(repository).grpc_url)


@pytest.mark.parametrize("case", list(CASES))
def test_without_a_gpu_an_engine_is_refused_with_its_reason(repository: Path, client: Any, case: str) -> None:
    """In Triton's answer, and nothing else is disturbed; KIND_GPU is refused by Triton itself."""
    text, reason = CASES[case]
    (repository / case / "1").mkdir(parents=True)
    (repository / case / "1" / "model.plan").write_bytes(b"an engine")
    (repository / case / "config.pbtxt").write_text(text)
    with pytest.raises(InferenceServerException, match=reason):
        client.load_model(case)
    assert client.is_model_ready("identity")
