"""The onnxruntime backend of the embedded Triton, in place of the container's C++ one.

Triton's Python stub imports this file for every model whose config.pbtxt says ``backend: "onnxruntime"`` or
``platform: "onnxruntime_onnx"``. The same configurations, parameters and artefacts are accepted, and what the container
refuses is refused here, with the reason in words.

Threads: where config.pbtxt sets no `intra_op_thread_count` (or 0), an instance gets the cores that this process may use
(affinity and CPU quota) divided by the number of the model's instances, at least one; `inter_op_thread_count` likewise.
ONNX Runtime's own default is all cores for each instance, and instances here are processes: Triton starts two for an
onnxruntime model on the CPU when config.pbtxt has no instance_group. A value that is given always wins. Threads that
wait for work do not spin, see `settings.NO_SPINNING`.

What differs from the container, and cannot be otherwise:

* instances do not share a session (`share_session_between_instances` is accepted and has no effect);
* the server's ``--backend-config=onnxruntime,…`` does not reach a Python-based backend;
* implicit sequence state is refused, as Triton does not keep it for Python-based backends;
* TYPE_BF16 is served, with a warning: the container's backend refuses it;
* a string that is not UTF-8 is refused: ONNX Runtime's Python API takes text.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from modelyard_server.backend_support.autocomplete import Completion, complete, needs_completion
from modelyard_server.backend_support.batching import Job, plan, run_jobs
from modelyard_server.backend_support.cancellation import Cancellation
from modelyard_server.backend_support.errors import BackendError, CancelledError, RequestError
from modelyard_server.backend_support.exchange import Exchange
from modelyard_server.backend_support.model_config import ModelConfig


class TritonPythonModel:
    """One instance of an ONNX model; the methods are those that Triton calls."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Completes what config.pbtxt leaves out; called once a model, in a process of its own."""
        config = ModelConfig.from_dict(auto_complete_model_config.as_dict())
        if needs_completion(config):
            # Imported here, as a configuration that is complete need not wait for ONNX Runtime.
            from modelyard_server.backends.onnxruntime.loading import read_signature

            signature = read_signature(config, Path(pb_utils.get_model_dir()))
            _apply(complete(config, signature), auto_complete_model_config)
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the session and holds config.pbtxt to it."""
        from modelyard_server.backends.onnxruntime.loading import load

        config = ModelConfig.from_json(args["model_config"])
        version_folder = Path(args["model_repository"], args["model_version"])
        self._session, warnings = load(
            config, version_folder, args["model_instance_kind"], int(args["model_instance_device_id"])
        )
        pb_utils.Logger.log_info(f"{args['model_instance_name']}: {self._session.description}")
        for warning in warnings:
            pb_utils.Logger.log_warn(f"{args['model_instance_name']}: {warning}")
        self._plan = plan(config, self._session.signature)
        self._exchange = Exchange(
            pb_utils,
            inputs={tensor.name: tensor.data_type for tensor in config.inputs},
            outputs={tensor.name: tensor.data_type for tensor in config.outputs},
        )
        self._cancellation = Cancellation()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Serves one batch: a response for each request, in order."""
        read = [self._read(request) for request in requests]
        jobs = [item for item in read if isinstance(item, Job)]
        started = time.perf_counter()
        outcomes = iter(run_jobs(jobs, self._plan, self._session.run))
        self._cancellation.observe(time.perf_counter() - started, len(jobs))
        return [self._exchange.response(next(outcomes) if isinstance(item, Job) else item) for item in read]

    def finalize(self) -> None:
        """Gives the session's memory back."""
        del self._session

    def _read(self, request: Any) -> Job | BackendError:
        if self._cancellation.worth_asking() and request.is_cancelled():
            return CancelledError("the request was cancelled before it ran")
        try:
            return self._exchange.job(request)
        except RequestError as error:
            return error


def _apply(completion: Completion, auto_complete_model_config: Any) -> None:
    auto_complete_model_config.set_max_batch_size(completion.max_batch_size)
    if completion.dynamic_batching:
        auto_complete_model_config.set_dynamic_batching()
    # `add_input` and `add_output` know no reshape, without which a tensor that is the batch alone cannot be written.
    auto_complete_model_config.as_dict()["input"].extend(completion.inputs)
    auto_complete_model_config.as_dict()["output"].extend(completion.outputs)
