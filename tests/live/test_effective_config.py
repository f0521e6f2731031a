"""What `config explain` says that Triton will use is what Triton says that it uses."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from modelyard_build.repository.explain.effective import effective
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Repository
from modelyard_build.repository.model_config import ModelConfig
from modelyard_server.process import TritonServer
from support.lint_examples import RECIPES
from support.triton import IDENTITY

pytestmark = pytest.mark.live

IO = 'input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }'
WHOLE = IO.replace("[ 4 ]", "[ -1, 4 ]")
WARMUP = """model_warmup { name: "w" batch_size: 1
    inputs { key: "x" value { data_type: TYPE_FP32 dims: 4 zero_data: true } } }"""
ONNX = {
    "backend_alone": 'backend: "onnxruntime"',
    "batch_without_tensors": 'backend: "onnxruntime" max_batch_size: 8',
    "inputs_alone": 'backend: "onnxruntime" max_batch_size: 8 input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }',
    "tensors_and_batch": f'backend: "onnxruntime" max_batch_size: 8 {IO}',
    "tensors_without_batch": f'backend: "onnxruntime" {WHOLE}',
    "empty_batcher": f'backend: "onnxruntime" max_batch_size: 8 dynamic_batching {{ }} {IO}',
    "platform_and_group": f'platform: "onnxruntime_onnx" max_batch_size: 8 instance_group {{ count: 3 }} {IO}',
    "two_groups": f'backend: "onnxruntime" instance_group [ {{ kind: KIND_CPU }}, {{ name: "b" count: 1 }} ] {WHOLE}',
}
PYTHON = {
    "python_defaults": f'backend: "python" max_batch_size: 8 {IO}',
    "python_queue": f"""backend: "python" max_batch_size: 8 instance_group {{ }} {IO} {WARMUP}
        dynamic_batching {{ default_queue_policy {{ max_queue_size: 3 }} }}""",
    "sequence": f'backend: "python" max_batch_size: 8 sequence_batching {{ }} {IO}',
    "sequence_oldest": f'backend: "python" max_batch_size: 8 sequence_batching {{ oldest {{ }} }} {IO}',
    "policy": f'backend: "python" version_policy {{ all {{ }} }} {WHOLE}',
}


@pytest.fixture(name="server", scope="module")
def running(serve: Callable[[Path], TritonServer], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Triton over all of the configs, and the repository."""
    repository = tmp_path_factory.mktemp("repository")
    for name, text in {**ONNX, **PYTHON}.items():
        version = repository / name / "1"
        version.mkdir(parents=True)
        if name in ONNX:
            RECIPES["onnx"](version / "model.onnx", "x FP32 [-1,4] -> y FP32 [-1,4]")
        else:
            (version / "model.py").write_text(IDENTITY)
        (repository / name / "config.pbtxt").write_text(text)
    return repository, serve(repository).state.http_url


def of_server(url: str, model: str) -> Any:
    """The config that a server completed, as a message."""
    with urllib.request.urlopen(f"http://{url}/v2/models/{model}/config") as answer:
        return json_format.ParseDict(json.load(answer), ModelConfig())


@pytest.mark.parametrize("model", [*ONNX, *PYTHON])
def test_the_completed_config_is_the_server_s(server: tuple[Path, str], model: str) -> None:
    """Field by field, without a GPU."""
    repository, url = server
    found = Repository(repository, Settings()).models[model]
    assert found.config
    ours, theirs = effective(found.config, has_gpu=False).message, of_server(url, model)
    # The embedded server's own: how it found the backend.
    theirs.ClearField("runtime")
    assert ours == theirs
