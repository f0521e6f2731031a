"""Models behind the embedded Triton, under load from another process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, final

import numpy as np
import numpy.typing as npt
import psutil
from tritonclient import grpc
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

from measure.generator import Generator
from measure.load_generator import Order
from measure.overhead import Load, Work
from modelyard_build.repository import layout
from modelyard_build.repository.hardware import hardware
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.process import ServerOptions, TritonServer, free_ports

Tensors = dict[str, npt.NDArray[Any]]


@final
class Served:
    """Triton over a repository, and a load generator; a context manager.

    Args:
        repository: The folder that holds the models' folders.
        model: The one that is asked.
        config_name: The configs that are served where they stand, as `--model-config-name`.
    """

    def __init__(self, repository: Path, model: str, config_name: str | None = None) -> None:
        http_port, grpc_port, metrics_port = free_ports(3)
        self._model = model
        self._server = TritonServer(ServerOptions(repository, http_port, grpc_port, metrics_port, config_name))

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

    @property
    def pid(self) -> int:
        """Of the server."""
        return self._server.state.pid

    def config(self, model: str = "") -> ModelConfig:
        """The configuration that Triton serves the model, or another, with."""
        return ModelConfig.from_dict(self._client.get_model_config(model or self._model, as_json=True)["config"])

    def answer(self, inputs: Tensors, output: str) -> npt.NDArray[Any]:
        """One inference."""
        return self.answers(self._model, inputs, [output])[output]

    def answers(self, model: str, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """One inference of any model."""
        answer = self._client.infer(model, _tensors(inputs))
        return {name: np.asarray(answer.as_numpy(name)) for name in outputs}

    def store_request(self, inputs: Tensors, file: Path, **parameters: int | bool) -> Path:
        """Writes the request that the load generator sends, serialised once for all; `parameters` as `priority`."""
        request = grpc.service_pb2.ModelInferRequest(model_name=self._model)
        add_parameters(request, **parameters)
        for name, array in inputs.items():
            request.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
            request.raw_input_contents.append(_bytes(array))
        file.write_bytes(request.SerializeToString())
        return file

    def load(self, requests: Sequence[Path], concurrency: int, seconds: float) -> Load:
        """One round of load; the requests are sent in turns."""
        return self.play(self.order(requests, concurrency, seconds))

    def order(self, requests: Sequence[Path], concurrency: int, seconds: float) -> Order:
        """What tells a load generator to play a round."""
        return Order("grpc", self._server.grpc_url, [str(request) for request in requests], concurrency, seconds)

    def play(self, order: Order) -> Load:
        """One round of load."""
        cpu, before = self._cpu_seconds(), self._work()
        played = self._generator.play(order)
        work = {model: after.since(before[model]) for model, after in self._work().items()}
        return Load(played, self._cpu_seconds() - cpu, work)

    def _cpu_seconds(self) -> float:
        root = psutil.Process(self.pid)
        times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def _work(self) -> dict[str, Work]:
        """Of every model so far."""
        statistics = self._client.get_inference_statistics(as_json=True)["model_stats"]
        return {each["name"]: _work_of(each) for each in statistics}


def own_configs(repository: Path) -> str | None:
    """This machine's kind, as `--model-config-name`, where a model of the repository is tuned for it."""
    kind = hardware().name
    return kind if any(repository.glob(f"*/{layout.CONFIGS}/{kind}.pbtxt")) else None


def add_parameters(request: Any, **parameters: int | bool) -> None:
    """Adds to a ModelInferRequest what Triton reads beside the tensors, such as `priority` or `sequence_id`."""
    for name, value in parameters.items():
        if isinstance(value, bool):
            request.parameters[name].bool_param = value
        else:
            request.parameters[name].int64_param = value


def _work_of(statistics: dict[str, Any]) -> Work:
    """Triton's numbers are strings in JSON, and left out where they are 0; those of batches count a run once."""
    batches = statistics.get("batch_stats", [])
    return Work(
        float(statistics.get("inference_count", 0)),
        float(statistics.get("execution_count", 0)),
        sum(float(batch["compute_infer"].get("ns", 0)) for batch in batches) / 1e9,
    )


def _tensors(inputs: Tensors) -> list[Any]:
    tensors = []
    for name, array in inputs.items():
        tensor = grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def _bytes(array: npt.NDArray[Any]) -> bytes:
    if array.dtype != np.object_:
        return array.tobytes()
    serialised: bytes = serialize_byte_tensor(array).item()
    return serialised
