"""The encoder behind the embedded Triton, under load from another process."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, final

import numpy.typing as npt
import psutil
from tritonclient import grpc

from measure.generator import Generator
from measure.load_generator import Order
from measure.overhead import Load
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.process import ServerOptions, TritonServer, free_ports

Tensors = dict[str, npt.NDArray[Any]]


@final
class Served:
    """Triton over a repository with one model, and a load generator; a context manager.

    Args:
        repository: The folder that holds the model's folder.
        model: The model's name.
    """

    def __init__(self, repository: Path, model: str) -> None:
        http_port, grpc_port, metrics_port = free_ports(3)
        options = ServerOptions(repository, http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
        self._model = model
        self._server = TritonServer(options)

    def __enter__(self) -> Served:
        self._server.__enter__()
        self._client = grpc.InferenceServerClient(self._server.grpc_url)
        self._generator = Generator().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._generator.__exit__(kind, error, trace)
        self._client.close()
        self._server.__exit__(kind, error, trace)

    def config(self) -> ModelConfig:
        """The configuration that Triton serves with."""
        return ModelConfig.from_dict(self._client.get_model_config(self._model, as_json=True)["config"])

    def answer(self, inputs: Tensors, output: str) -> npt.NDArray[Any]:
        """One inference."""
        return self._client.infer(self._model, _tensors(inputs)).as_numpy(output)  # type: ignore[no-any-return]

    def store_request(self, inputs: Tensors, file: Path) -> Path:
        """Writes the request that the load generator sends, serialised once for all."""
        request = grpc.service_pb2.ModelInferRequest(model_name=self._model)
        for name, array in inputs.items():
            request.inputs.add(name=name, datatype="INT64", shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        file.write_bytes(request.SerializeToString())
        return file

    def load(self, request: Path, concurrency: int, seconds: float) -> Load:
        """One round of load."""
        cpu, counts = self._cpu_seconds(), self._counts()
        played = self._generator.play(Order("grpc", self._server.grpc_url, [str(request)], concurrency, seconds))
        inferences, runs = (after - before for after, before in zip(self._counts(), counts, strict=True))
        return Load(played, self._cpu_seconds() - cpu, inferences / runs)

    def _cpu_seconds(self) -> float:
        root = psutil.Process(self._server.state.pid)
        times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def _counts(self) -> tuple[float, float]:
        """Inferences (rows) and runs of the model so far."""
        with urllib.request.urlopen(f"http://{self._server.metrics_url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return self._metric(text, "nv_inference_count"), self._metric(text, "nv_inference_exec_count")

    def _metric(self, text: str, name: str) -> float:
        return sum(map(float, re.findall(rf'^{name}{{model="{self._model}",[^}}]*}} (\S+)$', text, re.MULTILINE)))


def _tensors(inputs: Tensors) -> list[Any]:
    tensors = []
    for name, array in inputs.items():
        tensor = grpc.InferInput(name, array.shape, "INT64")
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors
