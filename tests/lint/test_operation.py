"""MY7xx, beyond each rule's pair of examples: what else it finds, and where it must be silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard_build.repository.lint.deployments import read_deployment
from modelyard_build.repository.lint.rules import BY_CODE, RULES
from modelyard_build.repository.lint.run import Finding, check
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Deployment

ROOT = Path(__file__).parents[2]
MINE = [rule for rule in RULES if rule.subject is Deployment]
IMAGE = "nvcr.io/nvidia/tritonserver:26.06-py3"


def lint(folder: Path, content: Any, *codes: str) -> list[Finding]:
    """What the rules say of one file, given as its content or as YAML."""
    path = folder / "compose.yml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return check(read_deployment(path, Settings()), [BY_CODE[code] for code in codes] if codes else MINE)


def compose(**stated: Any) -> dict[str, Any]:
    """A Compose file of one service that no rule finds anything in, but for what is stated; None takes a key out."""
    service = {
        "image": IMAGE,
        "command": ["tritonserver", "--model-repository=/models"],
        "volumes": ["./models:/models:ro"],
        "stop_grace_period": "45s",
        "shm_size": "1gb",
        "healthcheck": {"test": ["CMD", "python3", "/infer.py"]},
        **stated,
    }
    return {"services": {"triton": {key: value for key, value in service.items() if value is not None}}}


def pod(kind: str = "Deployment", **stated: Any) -> dict[str, Any]:
    """A Kubernetes document of one container that no rule finds anything in, but for what is stated of it."""
    container = {
        "name": "triton",
        "image": IMAGE,
        "args": ["tritonserver", "--model-repository=/models"],
        "readinessProbe": {"exec": {"command": ["python3", "/infer.py"]}},
        "volumeMounts": [{"name": "models", "mountPath": "/models"}, {"name": "shm", "mountPath": "/dev/shm"}],
        **stated,
    }
    spec = {
        "terminationGracePeriodSeconds": 60,
        "containers": [{"name": "other", "image": "busybox"}, container],
        "volumes": [{"name": "models", "hostPath": {"path": "/m"}}, {"name": "shm", "emptyDir": {"medium": "Memory"}}],
    }
    if kind == "Pod":
        return {"kind": kind, "spec": spec}
    return {"kind": kind, "spec": {"selector": {}, "template": {"spec": spec}}}


def test_the_projects_own_files_are_clean() -> None:
    """docker-compose.yml is what an operator copies."""
    found = check(read_deployment(ROOT / "docker-compose.yml", Settings()), MINE)
    assert [f"{finding.line} {finding.message}" for finding in found] == []


@pytest.mark.parametrize("content", [compose(), pod(), pod("Pod"), {"kind": "List", "items": [pod()]}])
def test_what_the_tests_start_from_is_clean(tmp_path: Path, content: dict[str, Any]) -> None:
    """So each finding below is of what a test states."""
    assert lint(tmp_path, content) == []


@pytest.mark.parametrize(
    "service",
    [
        {"command": None, "image": "redis:7"},
        {"command": ["perf_analyzer", "-m", "x"], "image": "nvcr.io/nvidia/tritonserver:24.01-py3-sdk"},
        {"command": ["bash"], "image": "nvcr.io/nvidia/tritonserver:24.01-py3"},
    ],
)
def test_other_services_are_left_alone(tmp_path: Path, service: dict[str, Any]) -> None:
    """Only what runs tritonserver is one."""
    assert lint(tmp_path, compose(**service, shm_size=None, healthcheck=None)) == []


@pytest.mark.parametrize(
    "command",
    [
        "tritonserver --model-repository=/models --model-control-mode=poll",
        ["bash", "-c", "exec /opt/tritonserver/bin/tritonserver --model-repository /models --model-control-mode poll"],
        ["tritonserver", "--model-repository=/models", "--model-control-mode", "poll"],
    ],
)
def test_a_command_is_read_in_every_form(tmp_path: Path, command: Any) -> None:
    """As one text, as a script, as words."""
    assert [finding.rule.code for finding in lint(tmp_path, compose(command=command))] == ["MY704"]


@pytest.mark.parametrize(
    ("check_of_it", "is_found"),
    [
        ({"test": "curl -f localhost:8000/v2/health/ready || exit 1"}, True),
        ({"test": ["CMD-SHELL", "curl -f localhost:8000/v2/models/text/versions/1/ready"]}, True),
        ({"test": ["CMD", "curl", "-d@sample.json", "localhost:8000/v2/models/text/infer"]}, False),
        ({"test": "curl -f localhost:8000/v2/health/ready && curl -d@s localhost:8000/v2/models/text/infer"}, False),
    ],
)
def test_a_health_check_must_infer(tmp_path: Path, check_of_it: dict[str, Any], is_found: bool) -> None:
    """Asking the server as well is fine."""
    assert bool(lint(tmp_path, compose(healthcheck=check_of_it), "MY701")) is is_found


@pytest.mark.parametrize("probe", [{"grpc": {"port": 8001}}, {"tcpSocket": {"port": 8000}}])
def test_grpc_health_and_open_ports_say_as_little(tmp_path: Path, probe: dict[str, Any]) -> None:
    """The health service of gRPC is the server's, not the models'."""
    assert lint(tmp_path, pod(readinessProbe=probe), "MY701") != []


def test_an_image_with_a_health_check_of_its_own_is_possible(tmp_path: Path) -> None:
    """Only NVIDIA's image is known to have none."""
    assert lint(tmp_path, compose(healthcheck=None), "MY703") != []
    assert lint(tmp_path, compose(healthcheck={"disable": True}), "MY703") != []
    assert lint(tmp_path, compose(healthcheck=None, image="mine/tritonserver:26.06"), "MY703") == []
    assert lint(tmp_path, compose(healthcheck=None, build="."), "MY703") == []


@pytest.mark.parametrize(
    ("grace", "flags", "is_found"),
    [
        (None, [], True),
        ("30s", [], True),
        ("31s", [], False),
        ("1m", ["--exit-timeout-secs=59"], False),
        ("1m", ["--exit-timeout-secs=60"], True),
        ("1h2m3.5s", ["--exit-timeout-secs=3000"], False),
        ("20s", ["--exit-timeout-secs", "10"], False),
        ("${GRACE}", [], False),
    ],
)
def test_the_grace_period_is_longer_than_the_drain(
    tmp_path: Path, grace: str | None, flags: list[str], is_found: bool
) -> None:
    """10 s and 30 s are the defaults; what cannot be read is not judged."""
    stated = compose(stop_grace_period=grace, command=["tritonserver", "--model-repository=/models", *flags])
    assert bool(lint(tmp_path, stated, "MY705")) is is_found


@pytest.mark.parametrize(
    "hook", [{"sleep": {"seconds": 30}}, {"exec": {"command": ["sleep", "30"]}}, {"exec": {"command": ["sleep", 30]}}]
)
def test_the_hook_before_the_stop_takes_its_time_from_the_grace_period(tmp_path: Path, hook: dict[str, Any]) -> None:
    """60 seconds less 30 of the hook are not longer than a drain of 30."""
    assert lint(tmp_path, pod(lifecycle={"preStop": hook}), "MY705") != []
    assert lint(tmp_path, pod(lifecycle={"preStop": {"sleep": {"seconds": 5}}}), "MY705") == []


@pytest.mark.parametrize(
    ("stated", "is_found"),
    [
        ({"shm_size": "64m"}, True),
        ({"shm_size": 67108864}, True),
        ({"shm_size": "65m"}, False),
        ({"shm_size": None}, True),
        ({"shm_size": None, "ipc": "host"}, False),
        ({"shm_size": None, "tmpfs": ["/dev/shm:size=1g"]}, False),
        ({"shm_size": None, "volumes": ["./models:/models", "/dev/shm:/dev/shm"]}, False),
        ({"shm_size": None, "volumes": [{"type": "tmpfs", "target": "/dev/shm"}]}, False),
        ({"shm_size": "${SHM}"}, False),
    ],
)
def test_shared_memory_is_stated_in_many_ways(tmp_path: Path, stated: dict[str, Any], is_found: bool) -> None:
    """Docker's default is 64 MB."""
    assert bool(lint(tmp_path, compose(**stated), "MY706")) is is_found


def test_a_pods_shared_memory_is_a_volume(tmp_path: Path) -> None:
    """Without one it has 64 MB; a limit as small is no better."""
    small = pod()
    small["spec"]["template"]["spec"]["volumes"][1]["emptyDir"]["sizeLimit"] = "64Mi"
    assert lint(tmp_path, small, "MY706") != []
    assert lint(tmp_path, pod(volumeMounts=[{"name": "models", "mountPath": "/models"}]), "MY706") != []


@pytest.mark.parametrize(
    ("image", "is_found"),
    [
        ("nvcr.io/nvidia/tritonserver:26.05-py3", True),
        ("registry:5000/mine/tritonserver:24.10", True),
        ("mine/tritonserver:${TRITON_RELEASE:-26.02}", True),
        ("nvcr.io/nvidia/tritonserver:26.06-py3@sha256:0123", False),
        ("nvcr.io/nvidia/tritonserver:26.10-py3", False),
        ("nvcr.io/nvidia/tritonserver@sha256:0123", False),
        ("nvcr.io/nvidia/tritonserver", False),
        ("mine/triton:24.10", False),
        ("mine/tritonserver:1.2.3", False),
    ],
)
def test_a_release_is_read_off_the_tag(tmp_path: Path, image: str, is_found: bool) -> None:
    """Where the image is called tritonserver; a variable's default counts."""
    assert bool(lint(tmp_path, compose(image=image), "MY708")) is is_found


@pytest.mark.parametrize(
    ("volume", "is_found"),
    [
        ("./models:/models:ro", False),
        ("./all:/", False),
        ("./models/texter:/models/texter:ro", False),
        ("./texter.pbtxt:/models/texter/config.pbtxt:ro", False),
        ("./models:/models_of_another", True),
        ("./models:/model", True),
    ],
)
def test_a_repository_is_mounted_whole_or_in_parts(tmp_path: Path, volume: str, is_found: bool) -> None:
    """Around the folder, at it, or files into it; a folder whose name begins alike is another."""
    assert bool(lint(tmp_path, compose(volumes=[volume]), "MY711")) is is_found


@pytest.mark.parametrize(
    ("port", "is_found"),
    [
        ("8000:8000", True),
        ("8000", True),
        (8001, True),
        ("0.0.0.0:8080:8000", True),
        ("8000-8002:8000-8002", True),
        ({"target": 8001, "published": 1}, True),
        ("8002:8002", False),
        ("127.0.0.1:8000:8000/tcp", False),
        ("[::1]:8000:8000", False),
        ("${ADDRESS}:8000:8000", False),
        ({"target": 8000, "host_ip": "127.0.0.1"}, False),
    ],
)
def test_a_port_is_open_unless_an_address_is_stated(tmp_path: Path, port: Any, is_found: bool) -> None:
    """In every form of Compose."""
    command = ["tritonserver", "--model-repository=/models", "--model-control-mode=explicit"]
    assert bool(lint(tmp_path, compose(command=command, ports=[port]), "MY709")) is is_found
    assert lint(tmp_path, compose(ports=[port]), "MY709") == []
    restricted = [*command, "--http-restricted-api=model-repository:key=secret"]
    assert lint(tmp_path, compose(command=restricted, ports=[port]), "MY709") == []


def test_a_finding_stands_where_the_setting_is_written(tmp_path: Path) -> None:
    """Also in an anchor that two services share, which is told of once; and after letters beyond ASCII."""
    text = """\
# Modèles, 模型, 🚢
x-triton: &triton
  image: nvcr.io/nvidia/tritonserver:24.10-py3  # old
  command: [tritonserver, --model-repository=/models]
services:
  first:
    <<: *triton
  second:
    <<: *triton
"""
    found = lint(tmp_path, text, "MY708")
    assert [(finding.line, finding.column, finding.end_column) for finding in found] == [(3, 3, 47)]


def test_an_override_of_another_file_need_not_state_everything(tmp_path: Path) -> None:
    """What it does not state stands in the other."""
    path = tmp_path / "docker-compose.override.yml"
    path.write_text(yaml.safe_dump({"services": {"triton": {"image": IMAGE, "command": ["tritonserver"]}}}))
    assert check(read_deployment(path, Settings()), MINE) == []
    patch = pod(readinessProbe=None)
    del patch["spec"]["selector"]
    assert lint(tmp_path, patch, "MY703", "MY705", "MY706") == []


def test_a_comment_ignores_a_finding(tmp_path: Path) -> None:
    """As in a config."""
    text = yaml.safe_dump(compose(shm_size="64m"), sort_keys=False)
    ignored = text.replace("shm_size: 64m", "shm_size: 64m # modelyard: ignore[MY706] no Python models here")
    assert [finding.rule.code for finding in lint(tmp_path, text)] == ["MY706"]
    assert lint(tmp_path, ignored) == []


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 99999),
    st.sampled_from(["", "x", IMAGE, "tritonserver", "8000:8000", "1s"]),
)
KEYS = st.sampled_from(
    [
        "image",
        "command",
        "args",
        "entrypoint",
        "ports",
        "volumes",
        "shm_size",
        "tmpfs",
        "healthcheck",
        "test",
        "name",
        "readinessProbe",
        "livenessProbe",
        "httpGet",
        "path",
        "exec",
        "stop_grace_period",
        "lifecycle",
        "preStop",
        "sleep",
        "seconds",
        "volumeMounts",
        "mountPath",
        "emptyDir",
        "host_ip",
        "target",
        "ipc",
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
SERVICE = st.dictionaries(KEYS, VALUES, max_size=8)


@given(service=SERVICE, container=SERVICE, spec=st.dictionaries(KEYS, VALUES, max_size=4), odd=VALUES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_breaks_a_rule(tmp_path: Path, service: Any, container: Any, spec: Any, odd: Any) -> None:
    """Values of any kind in any place: each finding has a sentence; none raises."""
    runs = {"command": ["tritonserver", "--model-control-mode=explicit", "--exit-timeout-secs=0"]}
    documents = [
        {"services": {"triton": {**runs, **service}, "odd": odd}},
        {"kind": "Pod", "spec": {**spec, "containers": [{**runs, **container}, odd], "volumes": odd}},
        {"kind": odd, "spec": odd, "items": [odd], "services": odd},
    ]
    for finding in lint(tmp_path, yaml.safe_dump_all(documents)):
        assert finding.message
