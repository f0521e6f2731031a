"""A backend whose library is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.packages import require_package


def test_a_missing_library_names_the_extra_that_brings_it() -> None:
    """One sentence: which backend, which package, where, and the command."""
    require_package("onnxruntime", "onnxruntime", extra="server")
    with pytest.raises(ModelLoadError) as refusal:
        require_package("openvino", "no_such_openvino", extra="openvino")
    assert str(refusal.value) == (
        f"the openvino backend needs the package no_such_openvino in the environment of {sys.executable} (No module "
        "named 'no_such_openvino'): pip install \"modelyard[openvino]\""
    )


def test_a_library_that_is_not_complete_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a binding whose shared library is missing."""
    (tmp_path / "half_a_library.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ModelLoadError, match=r"\(libnvinfer\.so\.10: cannot open .*\): pip install \"modelyard\[tensorrt\]\""
    ):
        require_package("tensorrt", "half_a_library", extra="tensorrt")
