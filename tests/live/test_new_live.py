"""docs/new.md, followed to the letter: what strangers bring becomes models that the real Triton serves."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard_server.process import TritonServer
from support.adoption import Workplace

pytestmark = pytest.mark.live

DOCUMENT = Path(__file__).parents[2] / "docs" / "new.md"
ADDRESS = "grpc://127.0.0.1:8001"
# The model of each walk-through, and the file that its first block of Python is.
WALKS = {"From net.py to answers": "net.py", "A Hugging Face model": "flowers.py", "An ONNX file": "shuffle.py"}


def section(title: str) -> str:
    """What stands below a heading of the document."""
    return DOCUMENT.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    """The blocks of code in a language, in order."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return found


def commands(text: str) -> list[list[str]]:
    """What a section has its reader type, without `modelyard`; serving is the test's own affair."""
    lines = [
        line for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ modelyard ")
    ]
    return [found for line in lines if (found := shlex.split(line)[2:])[0] != "serve"]


def follow(workplace: Workplace, text: str) -> list[str]:
    """Runs the commands; what each says on stdout."""
    said = []
    for command in commands(text):
        done = workplace.run(*command)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    return said


@pytest.mark.parametrize("title", WALKS)
def test_the_walk_through(title: str, tmp_path: Path, serve: Callable[[Path], TritonServer]) -> None:
    """Its files, its commands and its client give what it says that they give; what is written is clean Python."""
    text = section(title)
    first, client = blocks(text, "python")
    workplace = Workplace.at(tmp_path)
    file = workplace.folder / WALKS[title]
    file.write_text(first)
    subprocess.run([sys.executable, file.name], cwd=workplace.folder, check=True, capture_output=True)
    new, built = follow(workplace, text)
    told = [line.rstrip() for line in new.splitlines() if not line.startswith("wrote")]
    assert [line for line in told if line not in text] == []
    name = told[-1].removeprefix("next: modelyard build ")
    assert f"{name}: version 1 published (no version yet)" in built
    written = workplace.package / "models" / f"{name}.py"
    subprocess.run([sys.executable, "-m", "ruff", "check", "--isolated", "--select=E4,E7,E9,F", written], check=True)
    server = serve(workplace.repository)
    code = client.replace(ADDRESS, f"grpc://{server.grpc_url}")
    answered = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    printed = re.search(r"print\(.*\)  # (.*)", client)
    assert printed is not None
    assert answered.startswith(printed[1][:24])
