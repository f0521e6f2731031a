"""The `build` service: plans of the server's own TensorRT, on a GPU, into the model repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard_build.repository import device
from modelyard_build.repository.releases import DEFAULT_RELEASE, RELEASE_VARIABLE
from modelyard_build.tensorrt_engine import memory

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICE: dict[str, Any] = COMPOSE["services"]["build"]
FOLDER = ROOT / "deploy" / "build"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
CHECK = FOLDER / "check_tensorrt.sh"


def test_it_is_built_for_the_release_of_the_servers() -> None:
    """One variable chooses both images, and the default is what a build outside is for."""
    release = "${TRITON_RELEASE:-26.06}"
    assert SERVICE["build"]["args"]["TRITON_RELEASE"] == release
    assert SERVICE["image"].endswith(f":{release}")
    assert COMPOSE["services"]["triton-gpu"]["image"].endswith(f":{release}")
    assert f"ARG TRITON_RELEASE={DEFAULT_RELEASE}\n" in DOCKERFILE
    assert release == f"${{TRITON_RELEASE:-{DEFAULT_RELEASE}}}"


def test_only_the_repository_and_the_cache_can_be_written() -> None:
    """The sources are mounted as they stand, read-only."""
    writable = [volume for volume in SERVICE["volumes"] if not volume.endswith(":ro")]
    assert writable == ["./model_repository:/opt/modelyard/model_repository", "build-cache:/cache"]
    sources = {f"./{room}:/opt/modelyard/{room}:ro" for room in ("build", "server", "clients", "scripts")}
    assert sources <= set(SERVICE["volumes"])
    assert all((ROOT / volume.split(":")[0]).is_dir() for volume in SERVICE["volumes"] if volume.startswith("./"))
    assert SERVICE["read_only"] is True
    assert "build-cache" in COMPOSE["volumes"]


def test_it_has_the_gpu_and_no_rights_that_it_does_not_need() -> None:
    """The same device reservation as the server, so that kernels are timed on what serves them."""
    assert SERVICE["deploy"] == COMPOSE["services"]["triton-gpu"]["deploy"]
    assert SERVICE["user"] == "${TRITON_USER:-1000:1000}"
    assert SERVICE["cap_drop"] == ["ALL"]
    assert SERVICE["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in SERVICE


def test_it_runs_the_same_command_as_outside() -> None:
    """`docker compose run --rm build MODEL --targets tensorrt` is `modelyard build MODEL --targets tensorrt`."""
    assert 'ENTRYPOINT ["/opt/venv/bin/modelyard", "build"]' in DOCKERFILE
    assert "command" not in SERVICE
    # The default --repository is ./model_repository.
    assert "WORKDIR /opt/modelyard\n" in DOCKERFILE


def test_the_settings_are_those_that_the_build_reads() -> None:
    """A name that nobody reads would do nothing, silently."""
    assert {memory.VARIABLE, device.VARIABLE} <= SERVICE["environment"].keys()
    assert f"ENV {RELEASE_VARIABLE}=${{TRITON_RELEASE}}" in DOCKERFILE
    assert "MODELYARD_CACHE=/cache" in DOCKERFILE


def test_an_unset_memory_limit_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose hands an empty string in where the variable is not set."""
    assert SERVICE["environment"][memory.VARIABLE] == "${BUILDER_MEMORY_MIB:-}"
    monkeypatch.setenv(memory.VARIABLE, "")
    assert memory.limit_bytes() > 0


def test_the_image_installs_under_the_constraints_and_keeps_its_tensorrt() -> None:
    """No extra that brings TensorRT, and the image proves whose it imports."""
    assert '-c /opt/modelyard/constraints.txt -e "/opt/modelyard[build,server]"' in DOCKERFILE
    assert "--system-site-packages" in DOCKERFILE
    assert 'sys.exit(tensorrt.__file__.startswith("/opt/venv"))' in DOCKERFILE


def test_what_the_image_copies_is_not_ignored() -> None:
    """Everything else is: the tree may hold gigabytes."""
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert "pyproject.toml" in names
    for name in names:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored
    assert "*" in ignored
    assert "!deploy/build" in ignored


def image(folder: Path, *versions: str) -> Path:
    """A file system with the libraries of some versions of TensorRT, as an image has them."""
    libraries = folder / "usr" / "lib" / "x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    for version in versions:
        (libraries / f"libnvinfer.so.{version}").write_bytes(b"")
        (libraries / f"libnvinfer_plugin.so.{version}").write_bytes(b"")
        (libraries / "libnvinfer.so.11").symlink_to(f"libnvinfer.so.{version}")
    return folder


@pytest.mark.parametrize(
    ("server", "own", "said"),
    [
        (["11.0.1"], ["11.0.1"], ""),
        (["11.0.1"], ["11.1.0"], "The server's image has TensorRT 11.0.1, this one 11.1.0"),
        ([], ["11.1.0"], "The server's image has TensorRT none, this one 11.1.0"),
        ([], [], "The server's image has TensorRT none, this one none"),
    ],
)
def test_the_image_is_not_made_with_another_tensorrt(
    tmp_path: Path, server: list[str], own: list[str], said: str
) -> None:
    """The script that the Dockerfile runs, over two file systems."""
    roots = [str(image(tmp_path / "server", *server)), str(image(tmp_path / "own", *own))]
    done = subprocess.run(["/bin/sh", str(CHECK), *roots], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is (said == ""), done.stderr
    assert said in done.stderr
    assert "sh /check_tensorrt.sh /server\n" in DOCKERFILE
