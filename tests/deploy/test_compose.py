"""docker-compose.yml and the image it builds, by what an operator relies on."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard_build.repository import config

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "triton" / "Dockerfile").read_text(encoding="utf-8")
SERVICES = ("triton-cpu", "triton-gpu")
FIRST_SAFE_RELEASE = (26, 6)


def with_defaults(value: Any) -> Any:
    """A parsed value as compose reads it with no variable set: it substitutes after parsing."""
    if isinstance(value, dict):
        return {key: with_defaults(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_defaults(item) for item in value]
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) if isinstance(value, str) else value


COMPOSE: dict[str, Any] = with_defaults(yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8")))


@pytest.fixture(name="service", params=SERVICES)
def each_service(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The definition of a service."""
    definition: dict[str, Any] = COMPOSE["services"][request.param]
    return definition


def flags(service: dict[str, Any]) -> dict[str, str]:
    """Triton's options by name."""
    pairs = (flag.removeprefix("--").split("=", 1) for flag in service["command"] if flag.startswith("--"))
    return dict(pair for pair in pairs)


def seconds(duration: str) -> int:
    """A compose duration of whole seconds."""
    assert duration.endswith("s")
    return int(duration.removesuffix("s"))


def test_every_service_is_chosen_by_a_profile() -> None:
    """Both servers publish the same ports, so `docker compose up` alone must start neither, and no build."""
    assert {name: COMPOSE["services"][name]["profiles"] for name in COMPOSE["services"]} == {
        "triton-cpu": ["cpu"],
        "triton-gpu": ["gpu"],
        "build": ["gpu-build"],
        "triton-gpu-llm": ["gpu-llm"],
        "triton-gpu-trtllm": ["gpu-trtllm"],
    }


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Files of the repository by where a container sees them."""
    volumes = (volume.split(":") for volume in service["volumes"] if volume.endswith(":ro"))
    return {target: source for source, target, _ in volumes}


def test_the_language_models_server_reads_what_is_linted() -> None:
    """The config for vLLM is a file of model_repository/, what it loads one of deploy/; mounted they are one model."""
    service = COMPOSE["services"]["triton-gpu-llm"]
    mounted = mounts(service)
    assert 'backend: "vllm"' in (ROOT / mounted["/models/chat/config.pbtxt"]).read_text()
    settings = json.loads((ROOT / mounted["/models/chat/1/model.json"]).read_text())
    assert f"--tokenizer={settings['model']}" in service["command"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_tensorrt_llm_is_told_the_same_twice() -> None:
    """By the config and by model.yaml, whose names TensorRT-LLM's model.py reads; and loads what vLLM loads."""
    service = COMPOSE["services"]["triton-gpu-trtllm"]
    mounted = mounts(service)
    stated = config.read(ROOT / mounted["/models/chat/config.pbtxt"])
    settings = yaml.safe_load((ROOT / mounted["/models/chat/1/model.yaml"]).read_text())
    of_vllm = json.loads((ROOT / "deploy" / "llm" / "model.json").read_text())
    assert settings["triton_config"]["max_batch_size"] == stated.max_batch_size == 0
    assert settings["triton_config"]["decoupled"] is stated.model_transaction_policy.decoupled is True
    assert (settings["model"], settings["dtype"]) == (of_vllm["model"], of_vllm["dtype"])
    assert (settings["max_seq_len"], settings["max_batch_size"]) == (of_vllm["max_model_len"], of_vllm["max_num_seqs"])
    assert "/tensorrt_llm/1/*.py /models/chat/1/" in service["command"][2]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_ports_are_published_on_loopback_only(service: dict[str, Any]) -> None:
    """Triton's ports let everybody load and unload models."""
    assert sorted(port.rsplit(":", 1)[1] for port in service["ports"]) == ["8000", "8001", "8002"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_repository_is_mounted_read_only(service: dict[str, Any]) -> None:
    """The same folder that the embedded server serves; the container cannot change it."""
    assert "./model_repository:/models:ro" in service["volumes"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert flags(service)["model-repository"] == "/models"


def test_the_release_is_26_06_or_later_and_a_variable(service: dict[str, Any]) -> None:
    """Earlier ones fall to a single request; compose and Dockerfile have the same default."""
    release = service["build"]["args"]["TRITON_RELEASE"]
    assert tuple(map(int, release.split("."))) >= FIRST_SAFE_RELEASE
    assert service["image"].endswith(f":{release}")
    assert f"ARG TRITON_RELEASE={release}\nFROM nvcr.io/nvidia/tritonserver:${{TRITON_RELEASE}}-py3\n" in DOCKERFILE
    assert "${TRITON_RELEASE:-" in (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("release", "accepted"), [("26.06", True), ("26.10", True), ("27.01", True), ("24.10", False)])
def test_the_image_refuses_an_older_release(release: str, accepted: bool) -> None:
    """The Dockerfile's own line, run here."""
    found = re.search(r"^RUN (test (?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    assert found
    done = subprocess.run(
        ["/bin/sh", "-c", found[1]],
        env={**os.environ, "TRITON_RELEASE": release},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is accepted
    assert accepted or f"TRITON_RELEASE is {release}; use 26.06 or later." in done.stderr


@pytest.mark.parametrize(
    "package",
    ["tokenizers", "pillow", "openvino", "openvino-genai", "openvino-tokenizers", "onnxruntime", "soxr"],
)
def test_the_image_has_the_tested_packages(package: str) -> None:
    """The versions of constraints.txt: both servers make the same tokens of a text, and the same pixels of an image."""
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    # Where it depends on Python's version, the last one is that of the image's.
    versions = re.findall(rf"^{package}==([^\s;]+)", constraints, re.MULTILINE)
    assert versions
    installed = "".join(DOCKERFILE.split("RUN python3 -m pip install")[1:4]).split()
    assert f"{package}=={versions[-1]}" in installed


@pytest.mark.parametrize("packages", ["", "--index-url https://example.org torch==2.13.0"])
def test_the_image_has_what_modules_import_where_it_is_said(packages: str, tmp_path: Path) -> None:
    """The Dockerfile's own line, run here with a python3 that shows its arguments; left out, it does nothing."""
    found = re.search(r'^RUN (test -z "\$\{MODULE_PACKAGES\}"(?:.*\\\n)*.*)$', DOCKERFILE, re.MULTILINE)
    assert found
    (tmp_path / "python3").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MODULE_PACKAGES": packages}
    done = subprocess.run(["/bin/sh", "-c", found[1]], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith(packages)
    assert bool(done.stdout) is bool(packages)
    assert all(service["build"]["args"]["MODULE_PACKAGES"] == "" for service in map(COMPOSE["services"].get, SERVICES))


def test_the_health_check_infers(service: dict[str, Any]) -> None:
    """The script that is tested live, at the path where it is mounted; not Triton's ready endpoint."""
    command = service["healthcheck"]["test"]
    assert command[:3] == ["CMD", "python3", "/opt/modelyard/healthcheck/infer.py"]
    assert "--repository=/models" in command
    assert "./deploy/healthcheck:/opt/modelyard/healthcheck:ro" in service["volumes"]
    assert (ROOT / "deploy" / "healthcheck" / "infer.py").is_file()


def test_triton_may_drain_before_it_is_killed(service: dict[str, Any]) -> None:
    """Docker kills after stop_grace_period; Triton gives requests in flight its exit timeout."""
    assert seconds(service["stop_grace_period"]) > int(flags(service)["exit-timeout-secs"])


def test_models_are_controlled_as_in_the_embedded_server(service: dict[str, Any]) -> None:
    """Explicitly, all of them at the start, and one that does not load does not end the server."""
    options = flags(service)
    assert (options["model-control-mode"], options["load-model"], options["exit-on-error"]) == (
        "explicit",
        "*",
        "false",
    )


def test_triton_is_started_on_what_is_built(service: dict[str, Any]) -> None:
    """By the script that is tested live, at the path where it is mounted."""
    assert service["command"][:3] == ["python3", "/opt/modelyard/healthcheck/serve.py", "tritonserver"]
    assert (ROOT / "deploy" / "healthcheck" / "serve.py").is_file()


def test_the_container_has_no_rights_that_it_does_not_need(service: dict[str, Any]) -> None:
    """Not root, nothing writable but memory, no capabilities, and none to be gained."""
    assert not service["user"].startswith("0")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"]
    assert service["shm_size"] == "1gb"


def test_only_the_gpu_profile_asks_for_a_gpu() -> None:
    """By a device reservation, which needs the NVIDIA Container Toolkit."""
    devices = COMPOSE["services"]["triton-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert "deploy" not in COMPOSE["services"]["triton-cpu"]


def has_compose() -> bool:
    """Whether the docker command line has its compose plugin."""
    try:
        done = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


@pytest.mark.skipif(not has_compose(), reason="the docker command line has no compose plugin here")
@pytest.mark.parametrize("profile", ["cpu", "gpu", "gpu-build"])
def test_compose_accepts_the_file(profile: str) -> None:
    """`docker compose config` parses it whole."""
    command = ["docker", "compose", "--profile", profile, "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
