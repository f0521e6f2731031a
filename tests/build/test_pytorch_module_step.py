"""The step that serves a module as it is: making the module, and what it answers to a wrong request or answer."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from modelyard_build import steps

STEP = Path(steps.__path__[0]) / "pytorch_module.py"
NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(2, 2)

ready = Net()
number = 3
"""


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The step's file, imported outside Triton: what of it needs Triton is tested live."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    specification = importlib.util.spec_from_file_location("pytorch_module_step", STEP)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "pytorch_module_step", module)
    specification.loader.exec_module(module)
    threads = torch.get_num_threads()
    before = set(sys.modules)
    yield module
    torch.set_num_threads(threads)
    for name in set(sys.modules) - before:
        if name.startswith("served_net"):
            del sys.modules[name]


def version(folder: Path, code: str = NET, name: str = "served_net", **tensors: torch.Tensor) -> Path:
    """A version folder with a user's file and weights."""
    (folder / "source").mkdir()
    (folder / "source" / f"{name}.py").write_text(code)
    save_file(tensors or {"line.weight": torch.eye(2), "line.bias": torch.ones(2)}, folder / "weights.safetensors")
    return folder


@pytest.mark.parametrize("what", ["Net", "ready"])
def test_a_module_is_made_and_filled(step: Any, tmp_path: Path, what: str) -> None:
    """Out of a class, or as it stands in the file; the weights are those of the version."""
    module = step.load(version(tmp_path), f"served_net:{what}")
    assert torch.equal(module.line.weight, torch.eye(2))
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_missing_package_is_named_with_the_line(step: Any, tmp_path: Path) -> None:
    """File, line, package, and what installs it where the model runs."""
    folder = version(tmp_path, "import torch\nimport einops_of_nobody\n", "served_net_2")
    with pytest.raises(step.LoadError) as raised:
        step.load(folder, "served_net_2:Net")
    assert str(raised.value) == (
        "served_net_2:Net was not made at source/served_net_2.py:2: ModuleNotFoundError: No module named "
        f"'einops_of_nobody'. Install it where this model runs: {sys.executable} -m pip install einops_of_nobody"
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1 +\n", r"at .*served_net_3\.py:1: SyntaxError"),
        ("import sys\nsys.exit(2)\n", r"at source/served_net_3\.py:2: it called sys\.exit\(2\)"),
        ("def Net():\n    return 5\n", "LoadError: it makes a int, expected a torch.nn.Module"),
        ("", "AttributeError: module 'served_net_3' has no attribute 'Net'"),
    ],
)
def test_what_makes_no_module_is_said(step: Any, tmp_path: Path, code: str, message: str) -> None:
    """With the place, where there is one; `sys.exit` is an error like others."""
    with pytest.raises(step.LoadError, match=message):
        step.load(version(tmp_path, code, "served_net_3"), "served_net_3:Net")


def test_weights_of_another_module_are_refused(step: Any, tmp_path: Path) -> None:
    """With the names of what is missing and of what is too much."""
    folder = version(tmp_path, NET, "served_net_4", **{"other.weight": torch.eye(2)})
    with pytest.raises(step.LoadError, match=r"does not fit served_net_4:Net: .*line\.weight.*other\.weight"):
        step.load(folder, "served_net_4:Net")


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool]
)
def test_safetensors_are_read_as_its_library_writes_them(step: Any, tmp_path: Path, dtype: torch.dtype) -> None:
    """Every dtype and shape, an empty tensor and one number too; the library itself is not needed to serve."""
    tensors = {
        "a": torch.arange(6).reshape(2, 3).to(dtype),
        "empty": torch.zeros(0, 4, dtype=dtype),
        "one": torch.tensor(1).to(dtype),
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    found = step.read_safetensors(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) and found[name].dtype == dtype for name, tensor in tensors.items())


def test_outputs_are_found_where_they_stand(step: Any) -> None:
    """By key, position and field, at any depth; the batch comes first, and a number for each item becomes a row."""
    returned = {"states": [torch.zeros(3, 2, 5), torch.ones(2)], "rest": None}
    outputs = [
        step.Output("hidden", "FP32", [3, 5], place="states[0]", batch=1),
        step.Output("score", "FP32", [1], place="states[1]"),
    ]
    hidden, score = step.outputs_of(returned, outputs)
    assert (list(hidden.shape), list(score.shape)) == ([2, 3, 5], [2, 1])
    assert step.reach(torch.ones(2), "").tolist() == [1, 1]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"other": torch.ones(1)}, "forward returned a dict without 'logits'"),
        ({"logits": 3}, "output 'logits' is a int, expected a tensor"),
        ({"logits": torch.ones(2).half()}, "output 'logits' is FP16, expected FP32"),
        ({"logits": torch.tensor(1.0)}, "output 'logits' is a scalar"),
    ],
)
def test_an_answer_that_is_not_the_declared_one_is_an_error(step: Any, returned: Any, message: str) -> None:
    """The message names the output, what came and what was expected."""
    with pytest.raises(RuntimeError, match=message):
        step.outputs_of(returned, [step.Output("logits", "FP32", [1], place="logits")])


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.ones(1, 4, dtype=torch.int32), "input 'x' is INT32, expected INT64"),
        (torch.ones(1, 4, 1, dtype=torch.int64), r"input 'x' has 2 dimensions, expected \[2 to 8\]"),
        (torch.ones(1, 9, dtype=torch.int64), r"input 'x' has dims \[9\], expected \[2 to 8\]: 9 is not among"),
    ],
)
def test_a_wrong_input_is_the_requests_error(step: Any, tensor: torch.Tensor, message: str) -> None:
    """Dtype, rank and size, each with what is expected."""
    with pytest.raises(step.RequestError, match=message):
        step.Tensor("x", "INT64", [[2, 8]]).check(tensor)


def test_an_instance_runs_where_triton_says(step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU no GPU is to be found; a GPU that this PyTorch does not see, and no device at all, are refused."""
    assert step.device_of("CPU", 0) == torch.device("cpu")
    assert not torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(step.LoadError, match=r"KIND_GPU on GPU 1, and torch .* finds 1 GPUs"):
        step.device_of("GPU", 1)
    with pytest.raises(step.LoadError, match="KIND_MODEL, which says nothing of its device"):
        step.device_of("MODEL", 0)


def test_threads_are_what_the_config_says(step: Any) -> None:
    """As the pytorch backend's parameters; 0 shares the cores out among the instances; a word is refused."""
    config: dict[str, Any] = {"instance_group": [{"count": 1}, {"count": 1}], "parameters": {}}
    step.set_threads({**config, "parameters": {"INTRA_OP_THREAD_COUNT": {"string_value": "3"}}})
    assert torch.get_num_threads() == 3
    step.set_threads({**config, "instance_group": [{"count": 1000}]})
    assert torch.get_num_threads() == 1
    with pytest.raises(step.LoadError, match="'INTRA_OP_THREAD_COUNT' } is 'many', expected a whole number"):
        step.set_threads({**config, "parameters": {"INTRA_OP_THREAD_COUNT": {"string_value": "many"}}})


def test_a_config_that_contradicts_the_module_is_refused(step: Any) -> None:
    """People edit it: what Triton lets through then would not be what the module takes."""
    with pytest.raises(
        step.LoadError, match=r"config.pbtxt has the inputs \{'x': 'FP32'\}, the module \{'x': 'INT64'\}"
    ):
        step._check_config("input", [step.Tensor("x", "INT64", [1])], [{"name": "x", "data_type": "TYPE_FP32"}])


def test_the_description_is_json(step: Any) -> None:
    """What module.json says of a tensor is what the step reads."""
    said = {"name": "x", "dtype": "FP32", "dims": [3, [1, 4]], "number": False}
    assert step.Tensor(**json.loads(json.dumps(said))).shown() == "[3, 1 to 4]"
