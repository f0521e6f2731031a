"""Sessions of the real ONNX Runtime: what they read, run and refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from modelyard_server.backend_support.errors import ExecutionError, ModelLoadError
from modelyard_server.backend_support.instance import Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.signature import ArtefactTensor
from modelyard_server.backends.onnxruntime.loading import load, read_signature
from modelyard_server.backends.onnxruntime.session import OnnxSession, find_artefact, session_options
from modelyard_server.backends.onnxruntime.settings import session_settings
from support import onnx_models

OPTIONS = session_options(session_settings(ModelConfig("m", 0), cores=1))


def open_session(built: onnx.ModelProto, folder: Path) -> OnnxSession:
    """A session of the model."""
    onnx.save(built, folder / "model.onnx")
    return OnnxSession(folder / "model.onnx", "1/model.onnx", OPTIONS)


def matmul_config(**fields: Any) -> ModelConfig:
    """Fits `onnx_models.matmul` with weights [3, 2]."""
    tensors = {
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [2]}],
    }
    return ModelConfig.from_dict({"name": "m", "max_batch_size": 8, **tensors, **fields})


def test_the_signature_is_in_tritons_words(tmp_path: Path) -> None:
    """Types as config.pbtxt names them, and -1 for every dynamic dimension."""
    signature = open_session(onnx_models.identity_of_every_type(), tmp_path).signature
    assert {tensor.dims for tensor in signature.inputs.values()} == {(-1, -1)}
    assert {name: tensor.data_type for name, tensor in signature.outputs.items()} == {
        f"out_{name}": f"TYPE_{name}" for name in onnx_models.ELEMENT_TYPES
    }


def test_an_overridable_initializer_is_no_input_that_must_be_fed(tmp_path: Path) -> None:
    """It has a value of its own."""
    signature = open_session(onnx_models.overridable_offset(), tmp_path).signature
    assert list(signature.inputs) == ["x"]
    assert signature.overridable == {"offset": ArtefactTensor("TYPE_FP32", (1,))}


@pytest.mark.parametrize("shape", [(2, 3), (2, 0)])
def test_bfloat16_goes_in_and_comes_out(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """As 16-bit words, without a copy and without a loss."""
    session = open_session(onnx_models.identity(TensorProto.BFLOAT16), tmp_path)
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape).astype(ml_dtypes.bfloat16)
    (answer,) = session.run(["y"], {"x": values.view(np.uint16)})
    assert answer.shape == shape
    assert (answer.view(ml_dtypes.bfloat16) == values).all()


def test_a_bfloat16_output_outlives_the_session(tmp_path: Path) -> None:
    """The array holds on to ONNX Runtime's memory."""
    session = open_session(onnx_models.identity(TensorProto.BFLOAT16), tmp_path)
    words = np.arange(1000, dtype=np.uint16).reshape(10, 100)
    (answer,) = session.run(["y"], {"x": words})
    del session
    for _ in range(10):
        np.full(1000, 7, dtype=np.uint16)
    assert (answer == words).all()


def test_onnxruntimes_errors_are_ours(tmp_path: Path) -> None:
    """A run that fails says what ONNX Runtime says."""
    session = open_session(onnx_models.lookup(rows=10), tmp_path)
    assert session.run(["row"], {"index": np.array([[9]])})[0].shape == (1, 1, 2)
    with pytest.raises(ExecutionError, match="out of data bounds"):
        session.run(["row"], {"index": np.array([[10]])})
    with pytest.raises(ExecutionError, match="Unexpected input data type"):
        session.run(["row"], {"index": np.array([[1.0]])})


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """The message names the file and ONNX Runtime's version."""
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelLoadError, match=f"onnxruntime {onnxruntime.__version__} cannot open 1/model.onnx"):
        OnnxSession(tmp_path / "model.onnx", "1/model.onnx", OPTIONS)


def test_a_library_that_does_not_load_is_refused() -> None:
    """op_library_filename names the file."""
    settings = session_settings(matmul_config(model_operations={"op_library_filename": ["/no/ops.so"]}), 1)
    with pytest.raises(ModelLoadError, match=r"op_library_filename '/no/ops\.so' cannot be loaded"):
        session_options(settings)


def test_settings_reach_onnxruntime() -> None:
    """The options of the session are those of config.pbtxt."""
    keys = {
        "intra_op_thread_count": "3",
        "inter_op_thread_count": "2",
        "execution_mode": "1",
        "enable_mem_arena": "false",
        "enable_mem_pattern": "false",
        "session.use_device_allocator_for_initializers": "1",
    }
    parameters = {key: {"string_value": value} for key, value in keys.items()}
    config = matmul_config(parameters=parameters, optimization={"graph": {"level": 1}})
    options = session_options(session_settings(config, cores=1))
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert options.get_session_config_entry("session.use_device_allocator_for_initializers") == "1"


def test_run_entries_reach_every_run(tmp_path: Path) -> None:
    """ONNX Runtime refuses a shrinkage list that names no device it has, so that the entry is seen to arrive."""
    onnx.save(onnx_models.matmul(np.zeros((3, 2))), tmp_path / "model.onnx")
    entries = {"memory.enable_memory_arena_shrinkage": "cpu:7"}
    session = OnnxSession(tmp_path / "model.onnx", "1/model.onnx", OPTIONS, run_entries=entries)
    with pytest.raises(ExecutionError, match="arena"):
        session.run(["y"], {"x": np.zeros((1, 3), dtype=np.float32)})


@pytest.mark.parametrize("filename", ["", "model.onnx"])
def test_external_data_lies_beside_the_model_in_a_folder(tmp_path: Path, filename: str) -> None:
    """``1/model.onnx/model.onnx`` with its weights runs as one file does."""
    weights = np.arange(6, dtype=np.float32).reshape(3, 2)
    onnx_models.save_with_external_data(onnx_models.matmul(weights), tmp_path / "1" / "model.onnx")
    loaded = load(matmul_config(default_model_filename=filename), tmp_path / "1", Placement("CPU"))
    assert loaded.runtime.run(["y"], {"x": np.eye(3, dtype=np.float32)})[0].tolist() == weights.tolist()
    assert loaded.warnings == []


def test_external_data_may_lie_in_the_version_folder(tmp_path: Path) -> None:
    """The other layout that Triton knows."""
    onnx_models.save_with_external_data(onnx_models.matmul(np.ones((3, 2))), tmp_path / "1")
    assert list(read_signature(matmul_config(), tmp_path / "1").inputs) == ["x"]


def test_another_file_name_is_found(tmp_path: Path) -> None:
    """default_model_filename."""
    (tmp_path / "1").mkdir()
    onnx.save(onnx_models.matmul(np.zeros((3, 2))), tmp_path / "1" / "model.int8.onnx")
    assert find_artefact(tmp_path / "1", "model.int8.onnx").name == "model.int8.onnx"


def test_a_file_that_is_missing_is_named_with_what_is_there(tmp_path: Path) -> None:
    """The reader sees the typo."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "modle.onnx").touch()
    with pytest.raises(
        ModelLoadError, match=r"no file 1/model\.onnx; the version holds modle\.onnx.*default_model_file"
    ):
        find_artefact(tmp_path / "1", "")


def test_a_session_that_breaks_the_contract_is_not_served(tmp_path: Path) -> None:
    """Loading holds config.pbtxt to the graph."""
    (tmp_path / "1").mkdir()
    onnx.save(onnx_models.matmul(np.zeros((4, 2))), tmp_path / "1" / "model.onnx")
    with pytest.raises(ModelLoadError, match=r"input 'x' has shape \[-1,3\]"):
        load(matmul_config(), tmp_path / "1", Placement("CPU"))
