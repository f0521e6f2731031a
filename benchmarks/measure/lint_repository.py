"""A repository of many models, as a team has: systems of a tokenizer, encoders and an ensemble, all of them sound."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# A system: a tokenizer in Python, encoders in ONNX, and the ensemble of the tokenizer and the first encoder.
ENCODERS = 3
MODELS = ENCODERS + 2
LAYERS, WIDTH, TOKENS = 24, 64, 16

_TOKENIZER = """\
# Texts in, tokens out.
backend: "python"
max_batch_size: 32
input [ {{ name: "text", data_type: TYPE_STRING, dims: [ 1 ] }} ]
output [
  {{ name: "input_ids", data_type: TYPE_INT64, dims: [ {tokens} ] }},
  {{ name: "attention_mask", data_type: TYPE_INT64, dims: [ {tokens} ] }}
]
# Texts that wait for one another are tokenised together.
dynamic_batching {{
  max_queue_delay_microseconds: 500
  default_queue_policy {{ max_queue_size: 1024, default_timeout_microseconds: 30000000, timeout_action: REJECT }}
}}
instance_group [ {{ count: 1, kind: KIND_CPU }} ]
version_policy: {{ latest {{ num_versions: 1 }} }}
"""
_ENCODER = """\
# Tokens in, vector out.
backend: "onnxruntime"
max_batch_size: 32
input [
  {{ name: "input_ids", data_type: TYPE_INT64, dims: [ {tokens} ] }},
  {{ name: "attention_mask", data_type: TYPE_INT64, dims: [ {tokens} ] }}
]
output [ {{ name: "embedding", data_type: TYPE_FP32, dims: [ {width} ], label_filename: "labels.txt" }} ]
# Without this block Triton runs every request on its own.
dynamic_batching {{
  # How long the first request of a batch may wait for company.
  max_queue_delay_microseconds: 2000
  default_queue_policy {{
    max_queue_size: 1024
    default_timeout_microseconds: 30000000
    timeout_action: REJECT
  }}
}}
instance_group [ {{ count: {count}, kind: KIND_CPU }} ]
parameters {{ key: "intra_op_thread_count", value: {{ string_value: "1" }} }}
# A real sample runs before the model is called ready.
model_warmup {{ name: "real sample", batch_size: 1
  inputs {{ key: "input_ids", value: {{ data_type: TYPE_INT64, dims: [ {tokens} ], input_data_file: "input_ids" }} }}
  inputs {{ key: "attention_mask", value: {{ data_type: TYPE_INT64, dims: [ {tokens} ], input_data_file: "mask" }} }}
}}
version_policy: {{ latest {{ num_versions: 1 }} }}
"""
_ENSEMBLE = """\
# Text in, vector out.
platform: "ensemble"
max_batch_size: 32
input [ {{ name: "text", data_type: TYPE_STRING, dims: [ 1 ] }} ]
output [ {{ name: "embedding", data_type: TYPE_FP32, dims: [ {width} ] }} ]
ensemble_scheduling {{
  step [
    {{
      model_name: "{name}_tokenizer", model_version: -1
      input_map {{ key: "text", value: "text" }}
      output_map {{ key: "input_ids", value: "ids" }}
      output_map {{ key: "attention_mask", value: "mask" }}
    }},
    {{
      model_name: "{name}_encoder_0", model_version: -1
      input_map {{ key: "input_ids", value: "ids" }}
      input_map {{ key: "attention_mask", value: "mask" }}
      output_map {{ key: "embedding", value: "embedding" }}
    }}
  ]
}}
version_policy: {{ latest {{ num_versions: 1 }} }}
"""
_MODEL_PY = '''\
"""Texts in, tokens out."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One token a character."""

    def execute(self, requests):
        """Answers the requests of a batch."""
        answers = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
            ids = np.zeros((len(texts), {tokens}), np.int64)
            for row, (text,) in enumerate(texts):
                ids[row, : len(text)] = list(text[: {tokens}])
            mask = (ids > 0).astype(np.int64)
            tensors = [pb_utils.Tensor("input_ids", ids), pb_utils.Tensor("attention_mask", mask)]
            answers.append(pb_utils.InferenceResponse(tensors))
        return answers
'''


def write_repository(folder: Path, models: int) -> int:
    """Writes a repository, and gives the number of its files.

    Args:
        folder: an empty folder.
        models: how many, rounded down to whole systems.
    """
    graph = _encoder_graph()
    for number in range(models // MODELS):
        _write_system(folder, f"system_{number:04}", graph, number)
    return sum(path.is_file() for path in folder.rglob("*"))


def _write_system(folder: Path, name: str, graph: bytes, number: int) -> None:
    sizes = {"tokens": TOKENS, "width": WIDTH, "name": name}
    tokenizer = folder / f"{name}_tokenizer"
    _write(tokenizer, "config.pbtxt", _TOKENIZER.format(**sizes))
    for version in (1, 2, 3):
        _write(tokenizer, f"{version}/model.py", _MODEL_PY.format(**sizes))
        _write(tokenizer, f"{version}/tokenizer.json", json.dumps({"vocabulary": list(range(256))}))
        _finish(tokenizer, version)
    _write(tokenizer, "golden/samples.json", json.dumps([{"text": "one text"}]))
    for index in range(ENCODERS):
        _write_encoder(folder / f"{name}_encoder_{index}", sizes, graph, 1 + (number + index) % 2)
    ensemble = folder / name
    _write(ensemble, "config.pbtxt", _ENSEMBLE.format(**sizes))
    for version in (1, 2, 3):
        _finish(ensemble, version)
    _write(ensemble, "golden/samples.json", json.dumps([{"text": "one text"}]))
    _write(ensemble, "README.md", f"# {name}\n")


def _write_encoder(folder: Path, sizes: dict[str, object], graph: bytes, count: int) -> None:
    _write(folder, "config.pbtxt", _ENCODER.format(**sizes, count=count))
    _write(folder, "configs/cpu-avx2.pbtxt", _ENCODER.format(**sizes, count=1))
    for version in (1, 2):
        _write(folder, f"{version}/model.onnx", graph)
        _finish(folder, version)
    _write(folder, "warmup/input_ids", np.ones(TOKENS, np.int64).tobytes())
    _write(folder, "warmup/mask", np.ones(TOKENS, np.int64).tobytes())
    _write(folder, "labels.txt", "".join(f"label {number}\n" for number in range(WIDTH)))
    _write(folder, "golden/samples.json", json.dumps([{"input_ids": [1] * TOKENS}]))
    _write(folder, "README.md", f"# {folder.name}\n")


def _write(folder: Path, relative: str, content: str | bytes) -> None:
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _finish(folder: Path, version: int) -> None:
    """Writes a version's manifest, with its files and as much beside them as a real one has."""
    files = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in sorted((folder / str(version)).glob("*"))
    }
    steps = {f"step_{number}": f"{number:064x}" for number in range(8)}
    record = {"model": folder.name, "version": version, "files": files, "steps": steps, "libraries": {"onnx": "1.23"}}
    _write(folder, f"{version}/manifest.json", json.dumps(record))


def _encoder_graph() -> bytes:
    """A chain of layers of a batch that varies: some hundred nodes, weights inside."""
    weights = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    table = np.zeros((256, WIDTH), np.float32)
    initializers = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axis")]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide_mask"]),
        helper.make_node("Mul", ["tokens", "wide_mask"], ["hidden_0"]),
    ]
    initializers.append(numpy_helper.from_array(np.array([2]), "last"))
    for layer in range(LAYERS):
        initializers.append(numpy_helper.from_array(weights, f"weights_{layer}"))
        nodes += [
            helper.make_node("MatMul", [f"hidden_{layer}", f"weights_{layer}"], [f"product_{layer}"]),
            helper.make_node("Tanh", [f"product_{layer}"], [f"hidden_{layer + 1}"]),
        ]
    nodes.append(helper.make_node("ReduceMean", [f"hidden_{LAYERS}", "axis"], ["embedding"], keepdims=0))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", TOKENS])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", WIDTH])]
    graph = helper.make_graph(nodes, "encoder", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
