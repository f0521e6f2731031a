"""The container's command line on the embedded Triton: what the container itself cannot show here."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml

from modelyard_server.install import install_triton
from modelyard_server.launch import ServerOptions, compose_backends, triton_environment
from modelyard_server.process import free_ports
from support.triton import infer, write_model

pytestmark = pytest.mark.live

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"

ENSEMBLE = """\
platform: "ensemble"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] }
ensemble_scheduling {
  step {
    model_name: "fresh" model_version: -1
    input_map { key: "x" value: "x" } output_map { key: "y" value: "y" }
  }
}
"""


def test_triton_knows_every_option_of_the_container(tmp_path: Path) -> None:
    """It starts with them, MODEL_CONFIG_NAME's default is one that it takes, and what is built serves.

    Models that nobody built here, and ensembles of them, do not make it unready.
    """
    triton = install_triton()
    repository = tmp_path / "models"
    write_model(repository, "identity")
    write_model(repository, "fresh", None)
    ensemble = repository / "pair" / "config.pbtxt"
    (ensemble.parent / "1").mkdir(parents=True)
    ensemble.write_text(ENSEMBLE)
    compose_backends(triton, ServerOptions(repository), tmp_path / "backends")
    text = COMPOSE.read_text(encoding="utf-8").replace("${MODEL_CONFIG_NAME:-default}", "default")
    command = yaml.safe_load(text)["services"]["triton-cpu"]["command"]
    script = command[1].replace("/opt/modelyard", str(COMPOSE.parent / "deploy"))
    options = [option.replace("/models", str(repository)) for option in command[3:]]
    http_port, grpc_port, metrics_port = free_ports(3)
    # What is where in the image, and the ports, are this test's own.
    options += [f"--cache-directory={triton.caches}", f"--backend-directory={tmp_path / 'backends'}"]
    options += [f"--{name}-address=127.0.0.1" for name in ("http", "grpc", "metrics")]
    options += [f"--http-port={http_port}", f"--grpc-port={grpc_port}", f"--metrics-port={metrics_port}"]
    environment = triton_environment(triton, ServerOptions(repository), "compose")
    with (tmp_path / "log").open("w+") as log:
        line = [sys.executable, script, str(triton.tritonserver), *options]
        process = subprocess.Popen(line, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            ready = wait_ready(f"http://127.0.0.1:{http_port}/v2/health/ready", process)
            answer = infer(f"127.0.0.1:{http_port}", "identity", [3.0]) if ready else []
        finally:
            process.terminate()
            process.wait(timeout=60)
        log.seek(0)
        said = log.read()
        assert answer == [3.0], said
        assert said.startswith("not built, and left out: fresh, pair. To build: modelyard build\n")


def wait_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the server answers 200 before it ends, within a minute."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(url) as response:  # noqa: S310 - our own server
                return bool(response.status == 200)
        except URLError:
            time.sleep(0.05)
    return False
