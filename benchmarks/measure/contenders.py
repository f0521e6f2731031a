"""What is measured over HTTP: servers, how each is asked, and what each answers."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
from tritonclient import http

from measure.peer_environment import PEERS
from modelyard_server.errors import ServerError
from modelyard_server.process import ServerOptions, TritonServer, free_ports

Vector = npt.NDArray[np.float32]
MODEL = "text_embedder"
START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Contender:
    """One way to get a text's vector from a server that runs.

    Attributes:
        name: for people.
        url: host:port.
        pid: of the server's first process.
        request: a text as the bytes of a whole HTTP request.
        vector: what an answer's body and its `Inference-Header-Content-Length` say.
        path: of the route.
    """

    name: str
    url: str
    pid: int
    path: str
    body: Callable[[str], tuple[bytes, dict[str, str]]]
    vector: Callable[[bytes, int | None], Vector]

    def request(self, text: str) -> bytes:
        """A whole HTTP request, head included."""
        body, headers = self.body(text)
        fields = {"Host": self.url, **headers, "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body

    def ask(self, text: str) -> Vector:
        """One answer, read."""
        body, headers = self.body(text)
        request = urllib.request.Request(f"http://{self.url}{self.path}", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            length = answer.headers.get("Inference-Header-Content-Length")
            return self.vector(answer.read(), length and int(length))

    def cpu_seconds(self) -> float:
        """What the server's processes used of the cores so far."""
        root = psutil.Process(self.pid)
        times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
        return sum(each.user + each.system for each in times)


def peer_body(text: str) -> tuple[bytes, dict[str, str]]:
    """JSON, as every web framework takes it."""
    return json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}


def peer_vector(body: bytes, _: int | None) -> Vector:
    """Of the peers' JSON."""
    return np.array(json.loads(body)["embedding"], np.float32)


def json_body(text: str) -> tuple[bytes, dict[str, str]]:
    """Triton's protocol, all in JSON."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [text]}
    request = {"inputs": [tensor], "outputs": [{"name": "embedding"}]}
    return json.dumps(request).encode(), {"Content-Type": "application/json"}


def json_vector(body: bytes, _: int | None) -> Vector:
    """Of Triton's answer in JSON."""
    return np.array(json.loads(body)["outputs"][0]["data"], np.float32)


def binary_body(text: str) -> tuple[bytes, dict[str, str]]:
    """Triton's protocol with tensors as bytes behind the JSON: what its clients send."""
    tensor = http.InferInput("text", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[text.encode()]], np.object_))
    body, length = http.InferenceServerClient.generate_request_body(
        [tensor], outputs=[http.InferRequestedOutput("embedding")]
    )
    return body, {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(length)}


def binary_vector(body: bytes, header: int | None) -> Vector:
    """Of Triton's answer with tensors as bytes."""
    answer = http.InferenceServerClient.parse_response_body(body, header_length=header)
    vector: Vector = answer.as_numpy("embedding")[0]
    return vector


FORMS = {"binary": (binary_body, binary_vector), "JSON": (json_body, json_vector)}


@contextmanager
def modelyard(name: str, repository: Path, config_name: str | None) -> Iterator[list[Contender]]:
    """The embedded Triton over a repository, asked in both forms of its protocol."""
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServerOptions(repository, http_port, grpc_port, metrics_port, config_name)
    with TritonServer(options) as server:
        yield [
            Contender(f"{name}, {form}", server.http_url, server.state.pid, f"/v2/models/{MODEL}/infer", body, vector)
            for form, (body, vector) in FORMS.items()
        ]


@contextmanager
def peer(python: Path, script: str, model: Path, tokenizer: Path) -> Iterator[Contender]:
    """One of `peer_servers`.

    Raises:
        ServerError: it does not come up; its own words stand above.
    """
    (port,) = free_ports(1)
    command = [str(python), "-m", f"{PEERS.name}.{script}"]
    files = [f"--model={model.absolute()}", f"--tokenizer={tokenizer.absolute()}"]
    process = subprocess.Popen(
        [*command, *files, f"--port={port}"], cwd=PEERS.parent, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        _wait(script, process, port)
        yield Contender(script.replace("_", " "), f"127.0.0.1:{port}", process.pid, "/embed", peer_body, peer_vector)
    finally:
        _stop(process)


def _wait(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise ServerError(f"the peer {name} ended with {process.returncode}; its words stand above")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise ServerError(f"the peer {name} does not listen on port {port} after {START_TIMEOUT_S:g} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """With its workers."""
    workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for worker in psutil.wait_procs(workers, timeout=5)[1]:
        worker.kill()
