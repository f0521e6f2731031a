"""A Python file as an origin: it is run as its author would run it, and every way to fail has words."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from modelyard_build.adoption import user_code
from modelyard_build.adoption.input_specs import parse
from modelyard_build.adoption.origin import Draw, Limit, Opened, Wish
from modelyard_build.adoption.origins import checkpoint, python_file
from modelyard_build.errors import AdoptionFailed

NET = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.layer = nn.Linear(4, classes)

    def forward(self, x):
        return self.layer(x)


def make():
    torch.manual_seed(0)
    return Net()
"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What strangers import is gone with the test."""
    path, known = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if name in {"net", "layers", "package", "package.net", "package.layers"}:
            del sys.modules[name]


def opened(folder: Path, code: str, origin: str = "net.py", **more: object) -> Opened:
    (folder / "net.py").write_text(code)
    specs = {"x": ("FP32", (4,))}
    return python_file.open_file(Wish("mine", str(folder / origin), **{"inputs": specs, **more}))  # type: ignore[arg-type]


def test_a_factory_makes_the_module(tmp_path: Path) -> None:
    """A function without arguments; the declaration makes it the same way, and the file is an asset."""
    found = opened(tmp_path, NET, "net.py:make")
    assert found.assets == {"net": tmp_path / "net.py"}
    assert 'make(files["net"], "make")' in found.load
    assert not found.module.training


def test_the_only_class_needs_no_name(tmp_path: Path) -> None:
    """One module class that no other is made of is taken, with the weights that are given."""
    torch.manual_seed(1)
    expected = torch.nn.Linear(4, 3).state_dict()
    weights = tmp_path / "weights.safetensors"
    save_file({f"layer.{name}": tensor for name, tensor in expected.items()}, weights)
    found = opened(tmp_path, NET, weights=weights)
    assert torch.equal(found.module.state_dict()["layer.weight"], expected["weight"])
    assert set(found.assets) == {"net", "weights"}


def test_siblings_are_imported_and_count(tmp_path: Path) -> None:
    """What lies beside the file can be imported; an edit of it will make another version, too."""
    (tmp_path / "layers.py").write_text("from torch import nn\nLayer = nn.Linear\n")
    (tmp_path / "unused.py").write_text("")
    found = opened(tmp_path, "from layers import Layer\n" + NET.replace("nn.Linear", "Layer"), "net.py:make")
    assert found.assets == {"net": tmp_path / "net.py", "layers": tmp_path / "layers.py"}


def test_two_models_may_have_siblings_of_one_name(tmp_path: Path) -> None:
    """Each gets the layers.py of its own folder."""
    for size, folder in ((3, tmp_path / "a"), (5, tmp_path / "b")):
        folder.mkdir()
        (folder / "layers.py").write_text(f"SIZE = {size}\n")
        code = "from layers import SIZE\n" + NET.replace("classes=3", "classes=SIZE")
        assert opened(folder, code, "net.py:make").module.state_dict()["layer.bias"].shape == (size,)


def test_a_file_of_a_package(tmp_path: Path) -> None:
    """Relative imports work: the file is imported within its package."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "layers.py").write_text("from torch import nn\nLayer = nn.Linear\n")
    found = opened(package, "from .layers import Layer\n" + NET, "net.py:make")
    assert package / "layers.py" in found.assets.values()


def test_prints_do_not_reach_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout is the command's own."""
    opened(
        tmp_path, "print('hello')\n" + NET.replace("return self", "print('there')\n        return self"), "net.py:make"
    )
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err


FAILURES = {
    "raises": ("raise ValueError('no data')", "net.py", r"ValueError: no data \(at .*net.py:1"),
    "exits": ("import sys\nsys.exit(3)", "net.py", r"sys.exit\(3\).*net.py:2.*__main__"),
    "syntax": ("def (", "net.py", r"SyntaxError.*net.py:1"),
    "a package that is not there": ("import nowhere_to_be_found", "net.py", "Install 'nowhere_to_be_found'"),
    "no module": ("x = 1", "net.py", "defines no nn.Module class"),
    "no such name": (NET, "net.py:Nut", r"no 'Nut'. It has Net, make\(\)"),
    "no module by that name": (NET, "net.py:nn", "expected is a torch.nn.Module"),
    "several": (NET + "\nclass Other(Net):\n    pass\n\nclass Third(Net):\n    pass\n", "net.py", "Other, Third"),
    "arguments": (NET.replace("classes=3", "classes"), "net.py:Net", r"needs arguments \(classes\).*\n.*\n.*def make"),
    "fails when made": (NET.replace("super()", "1 / 0; super()"), "net.py:make", r"ZeroDivisionError.*net.py:7"),
    "random weights": (NET, "net.py:Net", "random. Give the trained ones: --weights"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_failures_name_the_line_and_the_way_out(kind: str, tmp_path: Path) -> None:
    """Whatever a stranger's file does, the message says what, where and what to do."""
    code, origin, message = FAILURES[kind]
    with pytest.raises(AdoptionFailed, match="(?s)" + message):
        opened(tmp_path, code, origin)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Named with its path."""
    with pytest.raises(AdoptionFailed, match=r"nowhere\.py is no file"):
        python_file.open_file(Wish("mine", str(tmp_path / "nowhere.py")))


def test_a_file_must_not_hide_what_others_import(tmp_path: Path) -> None:
    """json.py would be taken for Python's own."""
    (tmp_path / "json.py").write_text(NET)
    with pytest.raises(AdoptionFailed, match="called like the module 'json'"):
        user_code.import_file(tmp_path / "json.py")


def test_without_inputs_the_ways_to_give_them(tmp_path: Path) -> None:
    """All three are named, with forward's own parameters."""
    with pytest.raises(AdoptionFailed, match=r'(?s)--input "x:FP32\[16\]".*--example.*example_inputs\(\)'):
        opened(tmp_path, NET, "net.py:make", inputs={})


OWN = {
    "a dict": "def example_inputs():\n    return {'x': torch.ones(2, 4)}\n",
    "a tuple": "def example_inputs():\n    return (torch.ones(2, 4),)\n",
    "a tensor": "def example_inputs():\n    return torch.ones(2, 4)\n",
    "Lightning's": "Net.example_input_array = torch.ones(2, 4)\n",
}


@pytest.mark.parametrize("kind", OWN)
def test_a_file_may_bring_its_example(kind: str, tmp_path: Path) -> None:
    """By a function of its own, or as Lightning's modules do."""
    found = opened(tmp_path, NET + "\n\n" + OWN[kind], "net.py:make", inputs={})
    assert {name: array.shape for name, array in found.example.items()} == {"x": (2, 4)}


def test_an_example_of_dicts_is_refused(tmp_path: Path) -> None:
    """An input is a tensor: a module around it takes them one by one."""
    own = "def example_inputs():\n    return ({'x': torch.ones(2, 4)},)\n"
    with pytest.raises(AdoptionFailed, match=r"gives 'x' as a dict.*write a module around it"):
        opened(tmp_path, NET + "\n\n" + own, "net.py:make", inputs={})


def test_an_example_file_is_an_asset(tmp_path: Path) -> None:
    """Real inputs stay where they lie, and count."""
    np.savez(tmp_path / "real.npz", x=np.ones((9, 4), np.float32), mask=np.ones((9, 4), np.int64))
    found = opened(tmp_path, NET, "net.py:make", inputs={}, example=tmp_path / "real.npz")
    assert found.assets["example"] == tmp_path / "real.npz"
    assert found.draws == {"mask": Draw(ones=True)}


def test_an_example_file_that_is_none(tmp_path: Path) -> None:
    """Pickled objects in it are refused like a missing file."""
    np.savez(tmp_path / "real.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(AdoptionFailed, match="cannot be read"):
        opened(tmp_path, NET, "net.py:make", inputs={}, example=tmp_path / "real.npz")


def test_inputs_by_their_spelling() -> None:
    """Dtype, range, fixed and named dims, limits."""
    spec = parse("ids:INT64(0..99)[2, length=4..64]")
    assert (spec.name, spec.dtype, spec.dims) == ("ids", "INT64", (2, "length"))
    assert spec.draw == Draw(0, 100)
    assert spec.limits == {"length": Limit("length", 4, 64)}
    assert parse("x:FP32[]").dims == ()


@pytest.mark.parametrize("text", ["x", "x:FP32", "x:FLOAT[3]", "x:FP32[0]", "x:FP32[-1]", "x:FP32[batch]"])
def test_inputs_spelled_otherwise(text: str) -> None:
    """The message shows how they are spelled."""
    with pytest.raises(AdoptionFailed, match="expected is"):
        parse(text)


def test_a_checkpoint_alone_has_no_code(tmp_path: Path) -> None:
    """Weights need the module that they are of."""
    path = tmp_path / "weights.pt"
    torch.save({"layer.weight": torch.ones(3, 4)}, path)
    wish = Wish("mine", str(path))
    assert checkpoint.knows(wish)
    with pytest.raises(AdoptionFailed, match=r"holds 1 tensors.*--from net.py:Net --weights"):
        checkpoint.open_file(wish)
