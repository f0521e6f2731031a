"""The light install: `modelyard_client` needs numpy and tritonclient, and nothing else of this project."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard_server.process import TritonServer
from support.client_models import write_client_models

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
CALL = """
import json, sys
import numpy as np
from modelyard_client import Client
from modelyard_client.tasks import TextEmbedder

ones = np.ones((1, 4), np.float32)
with Client(sys.argv[1]) as client:
    answer = client.infer("add", {"a": ones, "b": ones})["sum"].tolist()
print(json.dumps({"answer": answer, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with numpy, tritonclient and the wheel of this project."""
    folder = tmp_path_factory.mktemp("light")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--disable-pip-version-check"]
    run(*pip, "-c", str(ROOT / "constraints.txt"), "numpy", "tritonclient[grpc,http]")
    run(*pip, "--no-deps", str(next(folder.glob("*.whl"))))
    return python


def run(*command: str) -> str:
    """The output of a command; its errors fail the test."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_client_infers_in_a_bare_environment(
    bare_python: Path, serve: Callable[[Path], TritonServer], tmp_path: Path
) -> None:
    """Import and a call over each protocol, with none of what the other rooms need."""
    server = serve(write_client_models(tmp_path, "add"))
    for url in (f"grpc://{server.grpc_url}", f"http://{server.http_url}"):
        seen = json.loads(run(str(bare_python), "-I", "-W", "error", "-c", CALL, url))
        assert seen["answer"] == [[2.0, 2.0, 2.0, 2.0]]
        assert not {"torch", "onnx", "onnxruntime", "tokenizers", "typer", "rich", "psutil"} & set(seen["modules"])


def test_wheel_holds_the_marker_of_types(bare_python: Path) -> None:
    """Type checkers of applications read the annotations."""
    code = "import importlib.resources as r; print(r.files('modelyard_client').joinpath('py.typed').is_file())"
    assert run(str(bare_python), "-I", "-c", code).strip() == "True"
