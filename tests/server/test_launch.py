"""The environment that Triton is started in."""

from __future__ import annotations

from modelyard_server.install import install_triton
from modelyard_server.launch import triton_environment


def test_gpus_are_hidden_from_a_runtime_that_cannot_use_them() -> None:
    """With the CPU build of ONNX Runtime, KIND_AUTO must mean the CPU also on a machine with a GPU."""
    assert triton_environment(install_triton(), "test")["CUDA_VISIBLE_DEVICES"] == ""
