"""An embedded Triton for tests: options, small models, and what must not be left behind."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from modelyard_build.assets import cache_dir
from modelyard_server.cleanup import SHARED_MEMORY, processes_of, region_prefix
from modelyard_server.install import install_triton
from modelyard_server.process import ServerOptions, free_ports
from modelyard_server.state import RunningServer

WAIT_S = 30.0

IDENTITY = """\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("y", pb_utils.get_input_tensor_by_name(request, "x").as_numpy())]
            )
            for request in requests
        ]
"""

FAILING = """\
class TritonPythonModel:
    def initialize(self, args):
        raise ValueError("no tokenizer.json in this version")

    def execute(self, requests):
        return []
"""

CONFIG = """\
backend: "{backend}"
max_batch_size: 8
input {{ name: "x" data_type: TYPE_FP32 dims: [ -1 ] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [ -1 ] }}
instance_group {{ kind: KIND_CPU count: {count} }}
"""


def options_on_free_ports(repository: Path) -> ServerOptions:
    """Options to serve a repository on ports that nobody uses."""
    http_port, grpc_port, metrics_port = free_ports(3)
    return ServerOptions(repository, http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)


def write_model(
    repository: Path, name: str, code: str | None = IDENTITY, *, backend: str = "python", count: int = 1, more: str = ""
) -> Path:
    """Writes a model with input `x` and output `y`, FP32 [-1], and returns its folder.

    Args:
        repository: made when missing.
        name: of the model.
        code: its model.py; None makes a model without a version.
        backend: that serves it.
        count: of its instances.
        more: what else its config says.
    """
    folder = repository / name
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG.format(backend=backend, count=count) + more)
    if code is not None:
        (folder / "1").mkdir()
        (folder / "1" / "model.py").write_text(code)
    return folder


def infer(http_url: str, model: str, values: list[float]) -> list[float]:
    """One inference over HTTP.

    Raises:
        urllib.error.HTTPError: Triton refused it.
    """
    tensor = {"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": values}
    request = urllib.request.Request(
        f"http://{http_url}/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}).encode()
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as response:  # noqa: S310
        answer: list[float] = json.load(response)["outputs"][0]["data"]
    return answer


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether a condition holds within half a minute."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def left_behind(server: RunningServer) -> list[str]:
    """What is still there of a server: processes, open ports, shared-memory regions, files that describe it."""
    processes = []
    for process in processes_of(server.id):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            processes.append(f"process {process.pid} {process.name()}")
    ports = [f"port {url}" for url in server.urls if _listens(url)]
    regions = [region.name for region in SHARED_MEMORY.glob(f"{region_prefix(server.id)}*")]
    folder = server.log_path.parent
    files = [
        path.name for path in folder.iterdir() if path.name in (f"{server.http_port}.json", f"{server.id}.backends")
    ]
    return processes + ports + regions + files


def _listens(url: str) -> bool:
    host, _, port = url.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def fresh_cache(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A cache in which nothing is built or proven; the server itself is not fetched again."""
    install_triton()
    fresh = folder / "cache"
    fresh.mkdir()
    for installed in cache_dir().glob("triton-*"):
        (fresh / installed.name).symlink_to(installed)
    patch.setenv("MODELYARD_CACHE", str(fresh))
