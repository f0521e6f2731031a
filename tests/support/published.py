"""A version of the pooler with candidates of every verdict, as a real build published it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelyard_build.assets import sha256_of
from support.candidates import WrongWhenTraced, build, declare_only, loading, short_rounds

MODEL = loading(WrongWhenTraced)
CANDIDATES = ("openvino-fp32", "pytorch-fp32", "onnxruntime-fp16")


def prepare(patch: pytest.MonkeyPatch, cache: Path) -> None:
    """The only model, a cache of its own, and a machine without a GPU."""
    patch.setenv("MODELYARD_CACHE", str(cache))
    patch.setenv("MODELYARD_DEVICE", "cpu")
    declare_only(patch, MODEL)
    short_rounds(patch)


def publish(repository: Path) -> Path:
    """Builds it: openvino-fp32 proven, pytorch-fp32 refused, onnxruntime-fp16 proven on its graph."""
    build(repository, *CANDIDATES)
    return repository


def replace_file(version: Path, name: str, content: bytes) -> None:
    """Another content in a published file, and the manifest says so: nothing looks damaged."""
    path = version / name
    path.write_bytes(content)
    manifest = version / "manifest.json"
    found = json.loads(manifest.read_text())
    found["files"][name] = {"sha256": sha256_of(path), "bytes": len(content)}
    manifest.write_text(json.dumps(found))
