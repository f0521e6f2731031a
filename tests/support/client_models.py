"""Small Python models that show what a client sends and how it takes every kind of answer."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import numpy.typing as npt

DATATYPES = {
    "BOOL": "BOOL",
    "INT8": "INT8",
    "INT16": "INT16",
    "INT32": "INT32",
    "INT64": "INT64",
    "UINT8": "UINT8",
    "UINT16": "UINT16",
    "UINT32": "UINT32",
    "UINT64": "UINT64",
    "FP16": "FP16",
    "FP32": "FP32",
    "FP64": "FP64",
    "BF16": "BF16",
    "BYTES": "STRING",
}
"""Triton's datatype -> what config.pbtxt calls it."""

_HEAD = """
    import json
    import os
    import time

    import numpy as np
    import triton_python_backend_utils as pb_utils


    def tensor(request, name):
        return pb_utils.get_input_tensor_by_name(request, name)


    def respond(*tensors):
        return pb_utils.InferenceResponse(list(tensors))

"""

# Every datatype: an optional input and the output that gives it back.
_TYPES_CONFIG = "\n".join(
    [
        'backend: "python"',
        *(
            f'input {{ name: "{name}_in" data_type: TYPE_{config_name} dims: [ -1, -1 ] optional: true }}\n'
            f'output {{ name: "{name}" data_type: TYPE_{config_name} dims: [ -1, -1 ] }}'
            for name, config_name in DATATYPES.items()
        ),
    ]
)
_TYPES_MODEL = """
    class TritonPythonModel:
        def execute(self, requests):
            return [respond(*map(self.answer, request.inputs())) for request in requests]

        def answer(self, given):
            name = given.name().removesuffix("_in")
            if name == "BF16":
                # numpy has no such type.
                return pb_utils.Tensor.from_dlpack(name, given.to_dlpack())
            return pb_utils.Tensor(name, given.as_numpy())
"""

# Two inputs and two outputs, batched; `sum` has labels.
_ADD_CONFIG = """
    backend: "python"
    max_batch_size: 8
    input { name: "a" data_type: TYPE_FP32 dims: [ 4 ] }
    input { name: "b" data_type: TYPE_FP32 dims: [ 4 ] }
    output { name: "sum" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt" }
    output { name: "difference" data_type: TYPE_FP32 dims: [ 4 ] }
"""
_ADD_MODEL = """
    class TritonPythonModel:
        def execute(self, requests):
            return [self.answer(request) for request in requests]

        def answer(self, request):
            a, b = tensor(request, "a").as_numpy(), tensor(request, "b").as_numpy()
            return respond(pb_utils.Tensor("sum", a + b), pb_utils.Tensor("difference", a - b))
"""

# Sleeps as long as it is told, one request after the other. `server` is the process that serves, `runs` how many
# requests the model has run.
_SLOW_CONFIG = """
    backend: "python"
    max_batch_size: 1
    input { name: "seconds" data_type: TYPE_FP32 dims: [ 1 ] }
    output { name: "server" data_type: TYPE_INT64 dims: [ 1 ] }
    output { name: "runs" data_type: TYPE_INT64 dims: [ 1 ] }
"""
# The same, where two requests may wait, and no longer than each of them says.
_NARROW_CONFIG = (
    _SLOW_CONFIG
    + """
    dynamic_batching {
      default_queue_policy { default_timeout_microseconds: 60000000 allow_timeout_override: true max_queue_size: 2 }
    }
"""
)
_SLOW_MODEL = """
    class TritonPythonModel:
        runs = 0

        def execute(self, requests):
            return [self.answer(tensor(request, "seconds").as_numpy()) for request in requests]

        def answer(self, seconds):
            self.runs += 1
            time.sleep(float(seconds[0, 0]))
            numbers = {"server": os.getppid(), "runs": self.runs}
            return respond(*(pb_utils.Tensor(name, np.full((1, 1), number)) for name, number in numbers.items()))
"""

# Gives texts back, with all else that came with the request; fails where a text says so.
_ECHO_CONFIG = """
    backend: "python"
    input { name: "text" data_type: TYPE_STRING dims: [ -1 ] }
    output { name: "text" data_type: TYPE_STRING dims: [ -1 ] }
    output { name: "request" data_type: TYPE_STRING dims: [ 1 ] }
"""
_ECHO_MODEL = """
    class TritonPythonModel:
        def execute(self, requests):
            return [self.answer(request) for request in requests]

        def answer(self, request):
            texts = tensor(request, "text").as_numpy()
            if b"fail" in texts:
                return pb_utils.InferenceResponse(error=pb_utils.TritonError("this text is not liked"))
            seen = {
                "request_id": request.request_id(),
                "parameters": json.loads(request.parameters()),
                "timeout": request.timeout(),
            }
            described = np.array([json.dumps(seen).encode()], dtype=np.object_)
            return respond(pb_utils.Tensor("text", texts), pb_utils.Tensor("request", described))
"""

# Adds up what a sequence sends.
_COUNTER_CONFIG = """
    backend: "python"
    max_batch_size: 1
    sequence_batching {
      max_sequence_idle_microseconds: 60000000
      control_input {
        name: "START"
        control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] }
      }
    }
    input { name: "number" data_type: TYPE_INT32 dims: [ 1 ] }
    output { name: "total" data_type: TYPE_INT32 dims: [ 1 ] }
"""
_COUNTER_MODEL = """
    class TritonPythonModel:
        def execute(self, requests):
            return [self.answer(request) for request in requests]

        def answer(self, request):
            if tensor(request, "START").as_numpy()[0]:
                self.total = 0
            self.total += tensor(request, "number").as_numpy()
            return respond(pb_utils.Tensor("total", self.total.astype(np.int32)))
"""

# Streams numbers, `load` bytes with each, until nobody wants them; fails at one where told to. `running` is how many
# streams run now, `cancelled` how many nobody wanted any more.
_NUMBERS_CONFIG = """
    backend: "python"
    model_transaction_policy { decoupled: true }
    input { name: "count" data_type: TYPE_INT32 dims: [ 1 ] }
    input { name: "pause" data_type: TYPE_FP32 dims: [ 1 ] optional: true }
    input { name: "fail_at" data_type: TYPE_INT32 dims: [ 1 ] optional: true }
    input { name: "bytes" data_type: TYPE_INT32 dims: [ 1 ] optional: true }
    output { name: "number" data_type: TYPE_INT32 dims: [ 1 ] }
    output { name: "running" data_type: TYPE_INT32 dims: [ 1 ] }
    output { name: "cancelled" data_type: TYPE_INT32 dims: [ 1 ] }
    output { name: "request" data_type: TYPE_STRING dims: [ 1 ] }
    output { name: "load" data_type: TYPE_UINT8 dims: [ -1 ] }
"""
_NUMBERS_MODEL = """
    import threading


    def number(request, name, default):
        given = tensor(request, name)
        return default if given is None else given.as_numpy()[0].item()


    class TritonPythonModel:
        running = cancelled = 0
        lock = threading.Lock()

        def execute(self, requests):
            for request in requests:
                threading.Thread(target=self.run, args=(request,)).start()

        def run(self, request):
            sender = request.get_response_sender()
            with self.lock:
                self.running += 1
            stopped = self.stream(request, sender)
            with self.lock:
                self.running -= 1
                self.cancelled += stopped
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

        def stream(self, request, sender):
            fail_at, pause = number(request, "fail_at", -1), number(request, "pause", 0)
            for value in range(number(request, "count", 0)):
                if sender.is_cancelled():
                    return True
                if value == fail_at:
                    sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(f"no number {value}")))
                    return False
                sender.send(self.answer(request, value))
                time.sleep(pause)
            return False

        def answer(self, request, value):
            numbers = {"number": value, "running": self.running, "cancelled": self.cancelled}
            return respond(
                *(pb_utils.Tensor(name, np.array([each], np.int32)) for name, each in numbers.items()),
                pb_utils.Tensor("request", np.array([request.request_id().encode()], np.object_)),
                pb_utils.Tensor("load", np.zeros(number(request, "bytes", 0), np.uint8)),
            )
"""

# Adds up what each sequence sends, many of them at once; fails alone on 13, takes long over 60.
_STEPS_CONFIG = """
    backend: "python"
    max_batch_size: 8
    sequence_batching {
      max_sequence_idle_microseconds: 2000000
      oldest { max_candidate_sequences: 64 }
      control_input {
        name: "START"
        control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] }
      }
      control_input {
        name: "CORRID"
        control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 }
      }
    }
    input { name: "number" data_type: TYPE_INT32 dims: [ 1 ] }
    output { name: "total" data_type: TYPE_INT32 dims: [ 1 ] }
    output { name: "server" data_type: TYPE_INT64 dims: [ 1 ] }
"""
_STEPS_MODEL = """
    class TritonPythonModel:
        def initialize(self, args):
            self.totals = {}

        def execute(self, requests):
            return [self.answer(request) for request in requests]

        def answer(self, request):
            sequence, given = tensor(request, "CORRID").as_numpy().item(), tensor(request, "number").as_numpy().item()
            if given == 13:
                return pb_utils.InferenceResponse(error=pb_utils.TritonError("13 is not liked"))
            time.sleep(0.6 if given == 60 else 0)
            start = tensor(request, "START").as_numpy().item()
            self.totals[sequence] = given + (0 if start else self.totals[sequence])
            numbers = {"total": np.int32(self.totals[sequence]), "server": np.int64(os.getppid())}
            return respond(*(pb_utils.Tensor(name, np.full((1, 1), each)) for name, each in numbers.items()))
"""

MODELS: dict[str, tuple[str, str]] = {
    "types": (_TYPES_CONFIG, _TYPES_MODEL),
    "add": (_ADD_CONFIG, _ADD_MODEL),
    "slow": (_SLOW_CONFIG, _SLOW_MODEL),
    "narrow": (_NARROW_CONFIG, _SLOW_MODEL),
    "echo": (_ECHO_CONFIG, _ECHO_MODEL),
    "counter": (_COUNTER_CONFIG, _COUNTER_MODEL),
    "numbers": (_NUMBERS_CONFIG, _NUMBERS_MODEL),
    "steps": (_STEPS_CONFIG, _STEPS_MODEL),
}


def write_client_models(repository: Path, *names: str) -> Path:
    """Writes some of `MODELS`, all where none is named; returns the repository."""
    for name in names or MODELS:
        config, model = MODELS[name]
        write_model(repository, name, config, model)
    if (repository / "add").is_dir():
        (repository / "add" / "labels.txt").write_text("zero\none\ntwo\nthree\n", encoding="utf-8")
    return repository


def write_model(repository: Path, name: str, config: str, model: str | None) -> None:
    """Writes a model's configuration and, unless it is an ensemble, its one version."""
    version = repository / name / "1"
    version.mkdir(parents=True, exist_ok=True)
    (repository / name / "config.pbtxt").write_text(dedent(config), encoding="utf-8")
    if model is not None:
        (version / "model.py").write_text(dedent(_HEAD) + "\n\n" + dedent(model), encoding="utf-8")


def samples(datatype: str) -> npt.NDArray[Any]:
    """Values [2, 3] of a datatype, its extremes among them."""
    if datatype == "BYTES":
        return np.array([["", "é", "a:b"], [b"\x00\xff", "漢字", " "]], dtype=np.object_)
    if datatype == "BOOL":
        return np.array([[True, False, True], [False, False, True]])
    if datatype == "BF16":
        return np.array([[0x3F80, 0x0000, 0xBF80], [0x7F80, 0x4049, 0x0001]], dtype=np.uint16)
    if datatype.startswith("FP"):
        dtype = np.dtype(f"float{datatype[2:]}")
        limits: Any = np.finfo(dtype)
        return np.array([[limits.min, limits.max, 0], [limits.tiny, np.inf, np.nan]], dtype=dtype)
    integers = np.iinfo(np.dtype(datatype.lower()))
    return np.array([[integers.min, integers.max, 0], [1, 2, 3]], dtype=integers.dtype)
