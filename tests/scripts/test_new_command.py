"""`modelyard new`: a stranger's file becomes a declaration, or nothing at all is written."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelyard_build import models
from modelyard_ops.cli import main

NET = """\
\"\"\"Scores of a signal.\"\"\"

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 3, padding=1)
        self.head = nn.Linear(8, 2)

    def forward(self, signal):
        hidden = self.conv(signal).relu()
        return {"scores": self.head(hidden.transpose(1, 2)), "label": self.head(hidden.mean(2)).argmax(1)}


def make():
    print("made")
    torch.manual_seed(0)
    return Net()


class Decided(Net):
    def forward(self, signal):
        rows = [self.head(self.conv(row).mean(1)) for row in signal]
        return torch.stack([row if row.sum() > 0 else -row for row in rows])


def decided():
    torch.manual_seed(0)
    return Decided()
"""


@dataclass(frozen=True)
class Place:
    """Where a stranger works: a copy of the declarations, a model repository, and the stranger's own file."""

    models: Path
    repository: Path
    origin: Path
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    def new(self, name: str, *more: str, origin: str = "make") -> tuple[int, str, str]:
        """Runs the command; its exit code, stdout and stderr in one line each."""
        inputs = () if "--input" in more else ("--input", "signal:FP32[4,length=2..64]")
        repository = () if "--repository" in more else ("--repository", str(self.repository))
        where = origin if "/" in origin else f"{self.origin}:{origin}"
        self.patch.setattr(sys, "argv", ["modelyard", "new", name, "--from", where, *inputs, *repository, *more])
        self.capture.readouterr()
        try:
            main()
            code: object = 0
        except SystemExit as ended:
            code = ended.code or 0
        captured = self.capture.readouterr()
        assert isinstance(code, int)
        return code, captured.out, captured.err

    def state(self) -> dict[str, bytes]:
        """Every file that the command may write, with its content."""
        files = [*self.models.iterdir(), *self.repository.rglob("*")]
        return {str(path): path.read_bytes() for path in files if path.is_file()}


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    folder = tmp_path / "models"
    shutil.copytree(models.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(models, "FOLDER", folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    origin = tmp_path / "stranger" / "net.py"
    origin.parent.mkdir()
    origin.write_text(NET)
    return Place(folder, tmp_path / "repository", origin, capsys, monkeypatch)


def test_a_file_becomes_a_declaration(place: Place) -> None:
    """Declaration, example, list and config are written; said again, nothing changes."""
    index = place.models / "__init__.py"
    before = index.read_text()
    code, out, error = place.new("signals")
    assert code == 0, error
    assert "length 2 to 64, 2" in out
    assert "next: modelyard build signals" in out
    assert "made" not in out
    assert "made" in error
    assert index.read_text().replace('    "signals",\n', "", 1) == before
    assert '    "signals",\n)' in index.read_text()
    assert (place.models / "signals.npz").stat().st_size < 1 << 18
    assert "# Without this block" in (place.repository / "signals" / "config.pbtxt").read_text()
    # What warms it up stands beside its config, as the config says.
    assert "model_warmup" in (place.repository / "signals" / "config.pbtxt").read_text()
    assert [path.name for path in (place.repository / "signals" / "warmup").iterdir()] == ["signal"]
    written = place.state()
    code, out, error = place.new("signals")
    assert code == 0, error
    assert "nothing to do" in out
    assert place.state() == written
    declaration = place.models / "signals.py"
    declaration.write_text(declaration.read_text().replace("max_batch_size=16", "max_batch_size=4"))
    edited = place.state()
    code, _, error = place.new("signals")
    assert code == 1
    assert "signals.py stands and says something else" in error
    assert place.state() == edited


def test_what_no_graph_holds_is_served_as_it_is(place: Place) -> None:
    """The reason names the line, and the declaration is one for Triton's Python backend."""
    code, out, error = place.new("decided", "--input", "signal:FP32[4,8]", origin="decided")
    assert code == 0, error
    assert "not exported" in out
    line = next(number for number, code in enumerate(NET.splitlines(), 1) if "row.sum()" in code)
    assert f"net.py:{line}, `return torch.stack" in out
    assert "data-dependent control flow" in out
    assert 'backend: "python"' in (place.repository / "decided" / "config.pbtxt").read_text()


REFUSED = {
    "another's name": ("text_embedder_encoder", "make", "a model is called 'text_embedder_encoder' already"),
    "no name": ("my-model", "make", "Take my_model"),
    "a keyword": ("class", "make", "cannot be the name of a model"),
    "a shared file": ("text_encoder", "make", "is a file that models share"),
    "no origin": ("mine", "what/is/this.xyz", "nothing known. It may be a Python file"),
    "no class": ("mine", "Nut", "has no 'Nut'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals_leave_nothing_behind(kind: str, place: Place) -> None:
    """One sentence on stderr, exit code 1, and every file as it was."""
    name, origin, message = REFUSED[kind]
    before = place.state()
    code, out, error = place.new(name, origin=origin)
    assert (code, out) == (1, "")
    assert message in error
    assert place.state() == before


def test_a_repository_that_cannot_be_written(place: Place, tmp_path: Path) -> None:
    """The config comes first: where it fails, no declaration stands."""
    (tmp_path / "file").write_text("")
    before = place.state()
    repository = str(tmp_path / "file" / "repository")
    code, _, error = place.new("nowhere", "--input", "signal:FP32[4,8]", "--repository", repository)
    assert code == 1
    assert "Nothing was written" in error
    assert place.state() == before
