"""The example programs and the snippets of the documentation, run as a reader would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard_server.process import TritonServer
from support.clients import Kind, url_of

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "clients" / "examples"
# Any bytes are an image to the stand-in.
IMAGES = (str(ROOT / "LICENSE"), str(ROOT / "README.md"))
FORECAST = ("--daily", "2", str(EXAMPLES / "sales.csv"))
ARGUMENTS = {"classify_images.py": IMAGES, "triage_xrays.py": IMAGES, "forecast_demand.py": FORECAST}
PRINTS = {
    "async_many.py": r"200 texts with 1600 tokens in .*\nas expected: no answer from",
    "classify_images.py": r"(?s)^/\S*LICENSE\n  0\.700  cup\n  0\.100  .*README\.md\n  0\.700  palace: imperial",
    "classify_tickets.py": r"(?s)^They reported.*\n  0\.\d{3}  \w+.*mortgage servicer.*\n  0\.\d{3}",
    "embed_texts.py": r"(?s)^The bank charged.*\n  0\.\d{3}  .*Mix the flour .*\n  0\.\d{3}  The recipe",
    "forecast_demand.py": r"(?s)^day 59 sent, 0 .*\nday 60 sent.*\ndate .*mean\n2016-04-30  .*\n2016-05-27  +\d+\.\d",
    "raw_infer.py": r"(?s)^input_ids: INT64 \[-1, -1\].*\[2, 384\]> answered request example-1\nas expected: .*int64",
    "search_passages.py": r"(?s)^A debt coll.*\n  0\.\d{3}  A collector .*\nSomebody.*\n  0\.\d{3}  Two purchases",
    "shared_memory.py": r"<Result of text_embedder_encoder/1: embedding: .*\nlargest difference .*: 0\.0e\+00",
    "triage_xrays.py": r"(?s)^/\S*README\.md\n  urgent: 0\.\d{3} .*, not medical\)\n/\S*LICENSE\n  routine: 0",
}

# What streams, which is done over gRPC alone, with its arguments.
STREAMED = {
    "chat.py": (["How are you?"], r"^You said: How are you\?\n$"),
    "generate_images.py": (
        ["--folder", "FOLDER"],
        r"^ +\d+\.\d\d s  /\S*/7-0\.png\n.*/7-1\.png\n.*/7-2\.png\n.*/7-3\.png\n$",
    ),
    "transcribe_audio.py": ([str(ROOT / "LICENSE")], r"^    0\.00     0\.50  second 0\n.*second 1\n.*second 2\n$"),
}


def run(script: Path, *arguments: str, folder: Path | None = None) -> str:
    """Its output, run in a folder; its errors fail the test."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["grpc", "http"])
@pytest.mark.parametrize("name", PRINTS)
def test_example_prints_what_it_should(client_triton: TritonServer, name: str, kind: Kind) -> None:
    """Every example runs over both protocols, without a warning."""
    assert re.search(PRINTS[name], run(EXAMPLES / name, "--url", url_of(client_triton, kind), *ARGUMENTS.get(name, ())))


@pytest.mark.parametrize("name", STREAMED)
def test_example_that_streams_prints_what_it_should(client_triton: TritonServer, tmp_path: Path, name: str) -> None:
    """Over gRPC; what is written into a folder is there."""
    arguments, printed = STREAMED[name]
    given = [str(tmp_path) if argument == "FOLDER" else argument for argument in arguments]
    assert re.search(printed, run(EXAMPLES / name, "--url", url_of(client_triton, "grpc"), *given))
    assert "FOLDER" not in arguments or list(tmp_path.iterdir())


def test_every_example_is_tested() -> None:
    """A new one must be listed here."""
    assert sorted([*PRINTS, *STREAMED]) == sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_snippets_of_the_documentation_run(client_triton: TritonServer, tmp_path: Path) -> None:
    """docs/clients.md, all of its Python together, against a server on other ports than the documented ones."""
    text = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    snippets = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    assert snippets.count("client") > 10
    script = tmp_path / "snippets.py"
    local = snippets.replace("127.0.0.1:8001", client_triton.grpc_url).replace("127.0.0.1:8000", client_triton.http_url)
    script.write_text(local, encoding="utf-8")
    # The recording that they read; to the stand-in any bytes are one.
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    run(script, folder=tmp_path)
