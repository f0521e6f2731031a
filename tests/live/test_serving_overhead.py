"""The benchmark of serving runs from end to end, on a stand-in for the encoder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support import onnx_models
from support.onnx_repository import config, tensors

pytestmark = pytest.mark.live

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "serving_overhead.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The benchmark, as short as it can be."""
    return subprocess.run(
        [sys.executable, SCRIPT, "--pairs", "2", "--seconds", "0.2", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_both_sides_are_measured_for_both_lengths(tmp_path: Path) -> None:
    """The published folder is served by links, the answers agree, and every figure is there."""
    text = config(
        tensors("input", input_ids="TYPE_INT64 dims: [ -1 ]", attention_mask="TYPE_INT64 dims: [ -1 ]"),
        tensors("output", embedding="TYPE_FP32 dims: [ 384 ]"),
        "dynamic_batching { }",
    )
    onnx_models.write_model(tmp_path, "text_embedder_encoder", onnx_models.encoder(), text)
    done = run("--repository", str(tmp_path), "--json")
    # A stand-in that computes nothing cannot hold the limit: 1 says so, and that it was measured.
    assert done.returncode in (0, 1), done.stderr
    results = json.loads(done.stdout)
    assert [result["tokens"] for result in results] == [32, 128]
    for result in results:
        assert 1 <= result["batch"] <= 8
        assert 0 < result["raw"]["low"] <= result["raw"]["mean"] <= result["raw"]["high"]
        assert result["less_load"]["mean"] > result["raw"]["mean"]
        assert result["client_ms"] > 0
        assert result["server_ms"] > 0


def test_an_encoder_that_is_not_built_is_an_error(tmp_path: Path) -> None:
    """One sentence with the command that builds it, and no traceback."""
    done = run("--repository", str(tmp_path))
    assert done.returncode == 1
    assert "modelyard build text_embedder" in done.stderr
    assert "Traceback" not in done.stderr
