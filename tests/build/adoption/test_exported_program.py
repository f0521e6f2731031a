"""A program of torch.export as an origin: its own constraints are the axes, and nothing in the archive is run."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from modelyard_build.adoption.inspection import inspect
from modelyard_build.adoption.origin import Opened, Wish
from modelyard_build.adoption.origins import exported_program
from modelyard_build.adoption.program_archive import is_arithmetic
from modelyard_build.adoption.trial import attempt
from modelyard_build.errors import AdoptionFailed
from modelyard_build.model import Axis
from support.small_models import Pooler

IDS, MASK = torch.randint(0, 50, (3, 7)), torch.ones(3, 7, dtype=torch.long)


class Flat(nn.Module):
    """Says its batch aloud: exported with one item, it takes one item."""

    def forward(self, x: Tensor) -> Tensor:
        """Float [batch, 2, 3] -> float [batch, 6]."""
        return x.reshape(x.shape[0], 6) * 2


def program(folder: Path) -> Path:
    sizes = {0: Dim("batch", min=1, max=32), 1: Dim("sequence", min=2, max=24)}
    made = torch.export.export(
        Pooler().eval(),
        (),
        {"input_ids": IDS, "attention_mask": MASK},
        dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
    )
    torch.export.save(made, folder / "net.pt2")
    return folder / "net.pt2"


def fixed(folder: Path, module: nn.Module, *arguments: Tensor) -> Path:
    torch.export.save(torch.export.export(module.eval(), arguments), folder / "fixed.pt2")
    return folder / "fixed.pt2"


def opened(path: Path, **wish: Any) -> Opened:
    return exported_program.ORIGIN.open(Wish("net", str(path), **wish))


def refusal(path: Path, **wish: Any) -> str:
    with pytest.raises(AdoptionFailed) as caught:
        opened(path, **wish)
    return str(caught.value)


def test_a_program_becomes_a_declaration(tmp_path: Path) -> None:
    """Its names, its saved example and the range that it was exported for; nothing beyond it."""
    wish = Wish("net", str(program(tmp_path)))
    found = exported_program.ORIGIN.open(wish)
    assert found.example["input_ids"].shape == (3, 7)
    inspected = inspect(found, lambda line: None)
    assert [(tensor.name, tensor.dims) for tensor in inspected.inputs] == [
        ("input_ids", (Axis("length", 2, 24, 7),)),
        ("attention_mask", (Axis("length", 2, 24, 7),)),
    ]
    tried = attempt(wish, found, inspected, lambda line: None)
    assert tried.refused == ""


def test_a_batch_that_was_fixed_is_said(tmp_path: Path) -> None:
    """Exported with one item, a program that names the number says so, with the export that mends it."""
    said = refusal(fixed(tmp_path, Flat(), torch.rand(1, 2, 3)))
    assert "was exported with a batch of 1 (input 'x' is [1, 2, 3])" in said
    assert "dynamic_shapes={'x': {0: Dim('batch')}}" in said


def test_a_fixed_batch_that_nothing_depends_on_is_free(tmp_path: Path) -> None:
    """Where the operators take any number of items, they are found to, and it is told."""
    found = opened(fixed(tmp_path, nn.Linear(4, 2), torch.rand(1, 4)))
    assert found.notes == ("the program was exported with a batch of 1; it was found to take others",)


def rewritten(path: Path, change: Callable[[str, bytes], bytes], more: dict[str, bytes] | None = None) -> Path:
    """The archive with other contents."""
    target = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as changed:
        for name in archive.namelist():
            changed.writestr(name, change(name, archive.read(name)))
        for name, content in (more or {}).items():
            changed.writestr(name, content)
    return target


class Harm:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_among_the_examples_is_not_opened(tmp_path: Path) -> None:
    """torch.export.load falls back to the unlimited unpickler; here it never gets there."""
    written = io.BytesIO()
    torch.save(Harm(tmp_path / "harm"), written)
    path = rewritten(
        program(tmp_path), lambda name, content: written.getvalue() if "sample_inputs" in name else content
    )
    assert "its example inputs are not plain tensors" in refusal(path)
    assert not (tmp_path / "harm").exists()


def test_a_pickle_among_the_constants_is_not_opened(tmp_path: Path) -> None:
    """Neither are custom objects, nor weights that stand as pickles."""
    path = program(tmp_path)
    harm = {"net/data/constants/opaque_obj_0": pickle.dumps(Harm(tmp_path / "harm"))}
    assert "holds Python objects" in refusal(rewritten(path, lambda name, content: content, harm))

    def as_pickles(name: str, content: bytes) -> bytes:
        return content.replace(b'"use_pickle": false', b'"use_pickle": true') if "config" in name else content

    assert "keeps weights as pickles" in refusal(rewritten(path, as_pickles))
    assert not (tmp_path / "harm").exists()


def test_a_size_that_is_code_is_not_evaluated(tmp_path: Path) -> None:
    """Sizes stand as text that sympy evaluates as Python: anything but arithmetic stops before it."""

    def with_code(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        text = json.dumps(f"__import__('pathlib').Path({str(tmp_path / 'harm')!r}).touch()")
        return content.replace(json.dumps(expression).encode(), text.encode())

    with zipfile.ZipFile(program(tmp_path)) as archive:
        name = next(name for name in archive.namelist() if name.endswith("models/model.json"))
        content = archive.read(name).decode()
    expression = "Symbol('" + content.split("Symbol('")[1].split('"')[0]
    assert "is no arithmetic over sizes" in refusal(rewritten(tmp_path / "net.pt2", with_code))
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Symbol('s43', positive=True, integer=True)", True),
        ("Mul(Integer(16), Symbol('s53', positive=True))", True),
        ("s0 + 2*s1 <= 4", True),
        ("__import__('os').system('true')", False),
        ("Symbol(\"__import__('os')\")", False),
        ("sympify('1')", False),
        ("(1).__class__", False),
        ("[x for x in (1,)]", False),
        ("lambda: 1", False),
        (3, False),
    ],
)
def test_what_counts_as_arithmetic(text: Any, expected: bool) -> None:
    """Calls of sympy's own, symbols and numbers."""
    assert is_arithmetic(text) is expected


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    """Readers differ in which of them they take."""
    name = "net/models/MODEL.json"
    assert "two members of one name" in refusal(rewritten(program(tmp_path), lambda _, content: content, {name: b"{}"}))


def test_pieces_and_numbers_are_refused(tmp_path: Path) -> None:
    """Half an archive, none, and a program that takes more than tensors."""
    path = program(tmp_path)
    (tmp_path / "half.pt2").write_bytes(path.read_bytes()[:3000])
    assert "cannot be read" in refusal(tmp_path / "half.pt2")
    assert "is no file" in refusal(tmp_path / "gone.pt2")

    class Scaled(nn.Module):
        def forward(self, x: Tensor, factor: int) -> Tensor:
            return x * factor

    torch.export.save(torch.export.export(Scaled(), (torch.rand(2, 3), 2)), tmp_path / "scaled.pt2")
    assert "expected is one tensor for each argument" in refusal(tmp_path / "scaled.pt2")
