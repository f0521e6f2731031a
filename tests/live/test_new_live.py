"""docs/new.md, followed to the letter: a stranger's net.py becomes a model that the real Triton serves."""

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


def blocks(language: str) -> list[str]:
    """The document's blocks of code in a language, in order."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return found


def commands() -> list[list[str]]:
    """What the document has its reader type, without `modelyard`; serving is the test's own affair."""
    lines = [line for block in blocks("console") for line in block.splitlines() if line.startswith("$ modelyard ")]
    return [found for line in lines if (found := shlex.split(line)[2:])[0] != "serve"]


def follow(workplace: Workplace) -> list[str]:
    """Runs the commands; what each says on stdout."""
    said = []
    for command in commands():
        done = workplace.run(*command)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    return said


def test_the_walk_through(tmp_path: Path, serve: Callable[[Path], TritonServer]) -> None:
    """Its files, its commands and its client give what it says that they give."""
    net, client = blocks("python")
    workplace = Workplace.at(tmp_path)
    file = workplace.folder / "net.py"
    file.write_text(net)
    subprocess.run([sys.executable, file.name], cwd=workplace.folder, check=True)
    new, built = follow(workplace)
    shown = DOCUMENT.read_text()
    told = [line.rstrip() for line in new.splitlines() if not line.startswith("wrote")]
    assert [line for line in told if line not in shown] == []
    assert "detector: version 1 published (no version yet)" in built
    server = serve(workplace.repository)
    code = client.replace(ADDRESS, f"grpc://{server.grpc_url}")
    answered = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    printed = re.search(r"print\(.*\)  # (.*)", client)
    assert printed is not None
    assert answered.startswith(printed[1][:24])
