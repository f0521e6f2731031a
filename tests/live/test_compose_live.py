"""The container's command line on the embedded Triton: what the container itself cannot show here."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml

from modelyard_server.install import install_triton
from modelyard_server.process import free_ports

pytestmark = pytest.mark.live

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"


def test_triton_knows_every_option_of_the_container(tmp_path: Path) -> None:
    """It starts with them over an empty repository, and MODEL_CONFIG_NAME's default is one that it takes."""
    triton = install_triton()
    text = COMPOSE.read_text(encoding="utf-8").replace("${MODEL_CONFIG_NAME:-default}", "default")
    command = yaml.safe_load(text)["services"]["triton-cpu"]["command"]
    options = [option.replace("/models", str(tmp_path)) for option in command[1:]]
    http_port, grpc_port, metrics_port = free_ports(3)
    # What is where in the image, and the ports, are this test's own.
    options += [f"--cache-directory={triton.caches}", f"--backend-directory={tmp_path}"]
    options += [f"--{name}-address=127.0.0.1" for name in ("http", "grpc", "metrics")]
    options += [f"--http-port={http_port}", f"--grpc-port={grpc_port}", f"--metrics-port={metrics_port}"]
    environment = {"LD_LIBRARY_PATH": str(triton.library_path)}
    with (tmp_path / "log").open("w+") as log:
        line = [str(triton.tritonserver), *options]
        process = subprocess.Popen(line, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            ready = wait_ready(f"http://127.0.0.1:{http_port}/v2/health/ready", process)
        finally:
            process.terminate()
            process.wait(timeout=60)
        log.seek(0)
        assert ready, log.read()


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
