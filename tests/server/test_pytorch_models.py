"""Models of the real PyTorch: how they are set up, run, and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modelyard_server.backend_support.errors import ExecutionError, ModelLoadError
from modelyard_server.backend_support.instance import Loaded, Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backends.pytorch.contract import DATA_TYPES
from modelyard_server.backends.pytorch.loading import load
from modelyard_server.backends.pytorch.settings import Settings, model_settings
from support import torch_models

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

X = {"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}
Y = {"name": "y", "data_type": "TYPE_FP32", "dims": [-1]}
ONES = np.ones((2, 3), dtype=np.float32)


def config(**fields: Any) -> ModelConfig:
    """A configuration of one input and one output, with changes; parameters as plain strings."""
    parameters = {key: {"string_value": value} for key, value in fields.pop("parameters", {}).items()}
    raw = {"name": "m", "max_batch_size": 8, "input": [X], "output": [Y], "parameters": parameters, **fields}
    return ModelConfig.from_dict(raw)


def loaded(module: nn.Module, folder: Path, **fields: Any) -> Loaded:
    """The module as TorchScript, loaded."""
    torch_models.save_script(module, folder / "1" / "model.pt")
    return load(config(**fields), folder / "1", Placement("CPU"))


def settings(instances: int = 1, cores: int = 6, **parameters: str) -> Settings:
    """What these parameters say."""
    fields = {"instance_group": [{"count": instances}], "parameters": parameters}
    return model_settings(config(**fields), cores)


def test_defaults_are_the_containers() -> None:
    """Inference mode and optimised execution on, all else as PyTorch has it, and the cores shared out."""
    assert settings() == Settings(
        inference_mode=True,
        optimized_execution=True,
        cudnn=True,
        deterministic=False,
        cache_cleaning=False,
        jit_profiling=None,
        jit_executor=None,
        tensor_fuser=None,
        intra_op_threads=6,
        inter_op_threads=None,
        weight_sharing=False,
    )
    assert settings(instances=4).intra_op_threads == 1


def test_parameters_are_read_as_the_container_reads_them() -> None:
    """Each by its name; a thread count that is not positive counts as not given."""
    read = settings(
        INFERENCE_MODE="false",
        DISABLE_OPTIMIZED_EXECUTION="true",
        DISABLE_CUDNN="on",
        ENABLE_DETERMINISTIC_ALGORITHMS="1",
        ENABLE_CACHE_CLEANING="true",
        ENABLE_JIT_PROFILING="false",
        ENABLE_JIT_EXECUTOR="off",
        ENABLE_TENSOR_FUSER="0",
        ENABLE_WEIGHT_SHARING="true",
        INTRA_OP_THREAD_COUNT="3",
        INTER_OP_THREAD_COUNT="2",
    )
    assert read == Settings(False, False, False, True, True, False, False, False, 3, 2, True)
    assert settings(instances=2, INTRA_OP_THREAD_COUNT="0", INTER_OP_THREAD_COUNT="-1").intra_op_threads == 3


@pytest.mark.parametrize(("key", "value"), [("INFERENCE_MODE", "yes"), ("INTRA_OP_THREAD_COUNT", "all")])
def test_values_that_cannot_be_read_are_refused(key: str, value: str) -> None:
    """With the parameter and what it is."""
    with pytest.raises(ModelLoadError, match=f"parameter '{key}' is '{value}'"):
        model_settings(ModelConfig("m", 0, parameters={key: value}), cores=1)


def test_settings_reach_pytorch(tmp_path: Path) -> None:
    """Threads and determinism are those of config.pbtxt; an instance has its process for itself."""
    before = torch.get_num_threads()
    try:
        loaded(
            torch_models.Total(),
            tmp_path,
            parameters={
                "INTRA_OP_THREAD_COUNT": "1",
                "ENABLE_DETERMINISTIC_ALGORITHMS": "true",
                "DISABLE_CUDNN": "true",
            },
        )
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.enabled
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.enabled = True


def test_weight_sharing_is_a_warning(tmp_path: Path) -> None:
    """It loads, and the log says that it does nothing."""
    model = loaded(torch_models.Pair(), tmp_path, parameters={"ENABLE_WEIGHT_SHARING": "true"})
    assert model.warnings == ["ENABLE_WEIGHT_SHARING has no effect here: each instance is a process of its own"]


@pytest.mark.parametrize("data_type", list(DATA_TYPES))
@pytest.mark.parametrize("shape", [(2, 2), (2, 0)])
def test_every_type_passes_unchanged(tmp_path: Path, data_type: str, shape: tuple[int, int]) -> None:
    """All that Triton and PyTorch share, at their limits, empty tensors included."""
    kind = np.dtype(DATA_TYPES[data_type])
    limits: Any = None if kind == np.bool_ else np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    values = np.resize(np.array([limits.min, limits.max, 0, 1] if limits else [True, False], dtype=kind), shape)
    typed = {"data_type": data_type}
    model = loaded(nn.Identity(), tmp_path, input=[{**X, **typed}], output=[{**Y, **typed}])
    (answer,) = model.runtime.run(["y"], {"x": values})
    assert (answer.dtype, answer.shape) == (kind, shape)
    assert (answer == values).all()


def test_only_the_outputs_that_were_asked_for_are_passed_on(tmp_path: Path) -> None:
    """In the order asked for."""
    model = loaded(torch_models.Pair(), tmp_path, output=[{**Y, "name": "a"}, {**Y, "name": "b"}])
    negated, doubled = model.runtime.run(["b", "a"], {"x": ONES})
    assert (negated == -1).all()
    assert (doubled == 2).all()


@pytest.mark.parametrize(
    ("module", "fields", "words"),
    [
        (torch_models.ToDict(), {}, r"returns Dict\[str, Tensor\], expected Tensor, List\[str\] or a tuple of these"),
        (torch_models.ToList(), {}, r"returns List\[Tensor\], expected"),
        (torch_models.Pair(), {"output": [{**Y, "name": "y__2"}]}, "output 'y__2' .* is number 2 .* returns 2"),
        (torch_models.Scale(), {}, r"has 1 input\(s\) .* takes 2: x, factor"),
        (torch_models.Shout(), {}, r"input 'x' is TYPE_FP32 .* argument 'texts' .* is List\[str\]"),
        (torch_models.Pair(), {"input": []}, "lists no input, and 1/model.pt does not tell names"),
        (torch_models.Pair(), {"output": []}, "lists no output"),
        (torch_models.Pair(), {"input": [{**X, "data_type": "TYPE_BF16"}]}, "data_type TYPE_BF16, which the pytorch"),
        (torch_models.Pair(), {"input": [{**X, "optional": True}]}, "input 'x' is optional"),
        (
            torch_models.Shout(),
            {"input": [{**X, "data_type": "TYPE_STRING", "dims": [1]}]},
            r"one dimension \(List\[str\]\), .*reshape { shape: \[ \] }",
        ),
        (
            torch_models.Pair(),
            {"sequence_batching": {"state": [{"input_name": "x", "output_name": "y"}]}},
            "implicit state",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_when_it_loads(
    tmp_path: Path, module: nn.Module, fields: dict[str, Any], words: str
) -> None:
    """What the container refuses, or loads and fails with every request."""
    with pytest.raises(ModelLoadError, match=words):
        loaded(module, tmp_path, **fields)


def test_a_scalar_is_refused_when_it_comes(tmp_path: Path) -> None:
    """TorchScript does not tell the rank of a tensor."""
    model = loaded(torch_models.Total(), tmp_path)
    with pytest.raises(ExecutionError, match="output 'y' is a scalar"):
        model.runtime.run(["y"], {"x": ONES})


def test_a_file_is_named_with_what_is_there(tmp_path: Path) -> None:
    """The reader sees the typo."""
    torch_models.save_script(torch_models.Pair(), tmp_path / "1" / "modle.pt")
    with pytest.raises(ModelLoadError, match=r"no file 1/model\.pt; the version holds modle\.pt"):
        load(config(), tmp_path / "1", Placement("CPU"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With both ways out."""
    torch_models.save_script(torch_models.Pair(), tmp_path / "1" / "model.pt")
    with pytest.raises(ModelLoadError, match=r"KIND_GPU, and torch .* finds no GPU: install a CUDA build of torch, or"):
        load(config(), tmp_path / "1", Placement("GPU"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version folder with a PT2 archive of `Keywords`: x [2], options of two tensors [2]."""
    folder = tmp_path_factory.mktemp("archive") / "1"
    options = {"scale": torch.ones(2), "shift": torch.zeros(2)}
    torch_models.save_archive(torch_models.Keywords(), folder / "model.pt2", torch.full((2,), 3.0), options=options)
    return folder


def archive_config(**fields: Any) -> ModelConfig:
    """The configuration that fits the archive, with changes."""
    names = ("ARGS[0]", "KWARGS[options][shift]", "KWARGS[options][scale]")
    tensor = {"data_type": "TYPE_FP32", "dims": [2]}
    return config(
        **{
            "platform": "torch_aoti",
            "max_batch_size": 0,
            "input": [{"name": name, **tensor} for name in names],
            "output": [{"name": name, **tensor} for name in ("RESULT[more][0]", "OUTPUT__0")],
            **fields,
        }
    )


def test_an_archive_is_run_by_the_names_of_its_call(archive: Path) -> None:
    """Arguments, keywords and results, nested; the same outputs also by their place."""
    model = load(archive_config(), archive, Placement("CPU"))
    inputs = {
        "KWARGS[options][scale]": np.array([2, 3], dtype=np.float32),
        "KWARGS[options][shift]": np.array([1, 1], dtype=np.float32),
        "ARGS[0]": np.array([1, 2], dtype=np.float32),
    }
    scaled, shifted = model.runtime.run(["OUTPUT__0", "RESULT[more][0]"], inputs)
    assert (scaled.tolist(), shifted.tolist()) == ([2, 6], [2, 3])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"output": [{**Y, "name": "y"}]}, r"lists output 'y', and 1/model\.pt2 has RESULT\[scaled\]"),
        ({"input": [{**X, "name": "ARGS[0]"}]}, r"takes each of ARGS\[0\], KWARGS\[options\]\[scale\].* once"),
        ({"sequence_batching": {}}, "serves no sequence_batching"),
        ({"input": [{**X, "data_type": "TYPE_STRING"}]}, "TYPE_STRING, which a PT2 archive does not take"),
        ({"default_model_filename": "model.pt", "platform": ""}, r"no file 1/model\.pt; the version holds model\.pt2"),
    ],
)
def test_an_archive_that_config_contradicts_is_refused(archive: Path, fields: dict[str, Any], words: str) -> None:
    """Names, what is left out, and what archives do not serve."""
    with pytest.raises(ModelLoadError, match=words):
        load(archive_config(**fields), archive, Placement("CPU"))


def test_batches_of_an_archive_are_a_warning(archive: Path) -> None:
    """The container documents them as not complete."""
    assert len(load(archive_config(), archive, Placement("CPU")).warnings) == 1
    warning = load(archive_config(max_batch_size=8), archive, Placement("CPU")).warnings[1]
    assert "max_batch_size 8 may not work there" in warning
