"""TorchScript as an origin: set up as an ordinary module that answers as the archive; what has no graph is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modelyard_build.adoption.inspection import inspect
from modelyard_build.adoption.origin import Draw, Opened, Wish
from modelyard_build.adoption.origins import torchscript
from modelyard_build.adoption.torchscript import rebuilt
from modelyard_build.adoption.trial import attempt
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Axis
from support.small_models import Pooler

TOKENS = {"input_ids": ("INT64", ("length",)), "attention_mask": ("INT64", ("length",))}
DRAWS = {"input_ids": Draw(0, 50), "attention_mask": Draw(ones=True)}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Loop(nn.Module):
    """Ends where its values say: no graph holds it."""

    def forward(self, x: Tensor) -> Tensor:
        """Float [batch, 4] -> the same."""
        while bool(x.max() < 10):
            x = x * 2 + 1
        return x


class Scaled(nn.Module):
    """Takes a number beside its tensor."""

    def forward(self, x: Tensor, factor: float = 3.0) -> Tensor:
        """Float [batch, 4] -> the same, times the factor."""
        return x.flatten(1) * factor


def saved(folder: Path, module: nn.Module, *arguments: Tensor, frozen: bool = False) -> Path:
    """An archive: traced where there are arguments, scripted otherwise."""
    script: Any = torch.jit.trace(module.eval(), arguments) if arguments else torch.jit.script(module.eval())  # type: ignore[no-untyped-call]
    path = folder / "net.pt"
    torch.jit.save(torch.jit.freeze(script.eval()) if frozen else script, path)
    return path


def pooler(folder: Path, *, frozen: bool = False) -> Path:
    return saved(folder, Pooler(), torch.randint(0, 50, (3, 7)), torch.ones(3, 7, dtype=torch.long), frozen=frozen)


def opened(path: Path, **wish: Any) -> Opened:
    return torchscript.ORIGIN.open(Wish("net", str(path), **wish))


def refusal(path: Path, **wish: Any) -> str:
    with pytest.raises(AdoptionFailed) as caught:
        opened(path, **wish)
    return str(caught.value)


@pytest.mark.parametrize("frozen", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["traced", "frozen"])
def test_an_archive_becomes_a_declaration(tmp_path: Path, frozen: bool) -> None:
    """The names of forward, its axes, and a graph that answers as the module, also where weights are constants."""
    wish = Wish("net", str(pooler(tmp_path, frozen=frozen)), inputs=TOKENS, draws=DRAWS)
    found = torchscript.ORIGIN.open(wish)
    inspected = inspect(found, lambda line: None)
    assert [tensor.name for tensor in inspected.inputs] == ["input_ids", "attention_mask"]
    assert all(isinstance(tensor.dims[0], Axis) for tensor in inspected.inputs)
    tried = attempt(wish, found, inspected, lambda line: None)
    assert tried.refused == ""


def test_the_module_answers_as_the_archive(tmp_path: Path) -> None:
    """At other sizes than those of the example, one item too, and in float64."""
    path = pooler(tmp_path)
    np.savez(tmp_path / "example.npz", input_ids=np.ones((4, 6), np.int64), attention_mask=np.ones((4, 6), np.int64))
    module = rebuilt(path, tmp_path / "example.npz")
    archive = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    for shape in ((1, 3), (2, 19), (5, 6)):
        ids, mask = torch.randint(0, 50, shape), torch.ones(shape, dtype=torch.long)
        torch.testing.assert_close(module(input_ids=ids, attention_mask=mask), archive(ids, mask))
    assert module.double()(input_ids=ids, attention_mask=mask).dtype == torch.float64


def test_numbers_keep_their_defaults(tmp_path: Path) -> None:
    """What is no tensor cannot be served: the value that the archive has for it stays."""
    found = opened(saved(tmp_path, Scaled()), inputs={"x": ("FP32", (4,))})
    x = torch.rand(2, 4)
    torch.testing.assert_close(found.module(x=x), x * 3)


def test_shapes_have_to_be_given(tmp_path: Path) -> None:
    """An archive does not say what it takes: the message gives the options to add, with the names of forward."""
    said = refusal(pooler(tmp_path))
    assert '--input "input_ids:FP32[16]" --input "attention_mask:FP32[16]"' in said
    assert "forward takes input_ids, attention_mask" in refusal(pooler(tmp_path), inputs={"ids": ("INT64", (4,))})


def test_control_flow_that_depends_on_values_is_refused(tmp_path: Path) -> None:
    """A loop over values has no graph; the message says what to give instead."""
    said = refusal(saved(tmp_path, Loop()), inputs={"x": ("FP32", (4,))})
    assert "this TorchScript has no graph" in said
    assert "--from net.py:Class" in said


def test_what_fails_on_the_inputs_says_which(tmp_path: Path) -> None:
    """The archive's own error, with the shapes that it was given."""
    said = refusal(saved(tmp_path, nn.Linear(3, 2)), inputs={"input": ("FP32", (5,))})
    assert "fails on the inputs given (input float32 [4, 5])" in said


def test_pickles_and_pieces_are_not_opened(tmp_path: Path) -> None:
    """What torch.save wrote, and half an archive."""
    torch.save(nn.Linear(2, 2), tmp_path / "saved.ts")
    assert "a pickle, which could run anything and is not opened" in refusal(tmp_path / "saved.ts")
    (tmp_path / "half.ts").write_bytes(pooler(tmp_path).read_bytes()[:2000])
    assert "no PyTorch archive, or only the beginning of one" in refusal(tmp_path / "half.ts")
    assert "is not a file" in refusal(tmp_path / "gone.ts")


def test_only_torchscript_is_taken_for_it(tmp_path: Path) -> None:
    """A .pt of weights is another origin's."""
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pt")
    assert not torchscript.ORIGIN.knows(Wish("net", str(tmp_path / "weights.pt")))
    assert torchscript.ORIGIN.knows(Wish("net", str(pooler(tmp_path))))
