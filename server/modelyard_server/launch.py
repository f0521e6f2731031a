"""How the embedded Triton is run: its command line, its environment, its backend directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from modelyard_server.built import config_text, expected, model_folders, unbuilt, with_steps, without_comments
from modelyard_server.cleanup import region_prefix
from modelyard_server.install import Triton
from modelyard_server.libraries import library_path
from modelyard_server.ports import LOOPBACK
from modelyard_server.state import MARK_VARIABLE

BACKENDS = Path(__file__).parent / "backends"


@dataclass(frozen=True)
class ServerOptions:
    """What is served, and where.

    Attributes:
        repository: the model repository.
        http_port: of loopback, as the others.
        config_name: serve `<model>/configs/<config_name>.pbtxt` where it stands, and config.pbtxt elsewhere.
        models: what is served, with what they call; empty: all that is built.
        gpus: whether the models are to see GPUs; None: where something that is served can use one.
        backends: a folder of Python-based backends, `<name>/model.py` each.
        exit_timeout_s: how long running inferences may take once the server was told to stop. Triton also waits that
            long for HTTP connections which clients keep open, idle or not.
        response_cache_bytes: of the cache for the models whose config asks for one; 0 serves without.
        arguments: more of tritonserver's own, such as "--rate-limit=execution_count".
    """

    repository: Path
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    config_name: str | None = None
    models: tuple[str, ...] = ()
    gpus: bool | None = None
    backends: Path = BACKENDS
    exit_timeout_s: int = 10
    response_cache_bytes: int = 64 << 20
    arguments: tuple[str, ...] = ()

    @property
    def ports(self) -> dict[str, int]:
        """Each port under the name of its service."""
        return {"http": self.http_port, "grpc": self.grpc_port, "metrics": self.metrics_port}


def compose_backends(triton: Triton, options: ServerOptions, folder: Path) -> None:
    """Makes a backend directory out of links: Triton's Python backend, and the Python-based backends over it.

    Which implementation serves `backend: "onnxruntime"` is decided here, not in a config: configs stay portable.
    """
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(triton.python_backend)
    for model in options.backends.glob("*/model.py"):
        (folder / model.parent.name).symlink_to(model.parent.resolve())


def triton_command(triton: Triton, options: ServerOptions, backends: Path, server_id: str) -> list[str]:
    """Tritonserver's command line."""
    command = [
        str(triton.tritonserver),
        f"--model-repository={options.repository.resolve()}",
        f"--backend-directory={backends}",
        f"--cache-directory={triton.caches}",
        *(f"--{name}-address={LOOPBACK}" for name in options.ports),
        *(f"--{name}-port={port}" for name, port in options.ports.items()),
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in _to_load(options)),
        "--exit-on-error=false",  # one model that does not load must not take the others down
        "--strict-readiness=true",
        f"--exit-timeout-secs={options.exit_timeout_s}",
        f"--backend-config=python,shm-region-prefix-name={region_prefix(server_id)}",
        "--log-format=ISO8601",
    ]
    if options.response_cache_bytes:
        command.append(f"--cache-config=local,size={options.response_cache_bytes}")
    if options.config_name:
        command.append(f"--model-config-name={options.config_name}")
    return [*command, *options.arguments]


def _to_load(options: ServerOptions) -> list[str]:
    """The models by name only where not all are meant: `*` also takes what Triton finds and we do not."""
    if options.models:
        # Triton loads an ensemble's steps by itself, and knows nothing of what a step calls.
        return sorted(expected(options.repository, options.models, options.config_name))
    if not unbuilt(options.repository, options.config_name):
        return ["*"]
    return sorted(expected(options.repository, (), options.config_name))


def triton_environment(triton: Triton, options: ServerOptions, server_id: str) -> dict[str, str]:
    """The environment of Triton and of its Python processes: this one, and what they need.

    From Python 3.11 on the Python processes run isolated: they ignore PYTHONPATH and every other PYTHON variable.
    """
    return {
        **os.environ,
        **_hidden_gpus(options),
        MARK_VARIABLE: server_id,
        # A Python process finds its standard library and packages by the first python3 on PATH.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": library_path(triton),
    }


def _hidden_gpus(options: ServerOptions) -> dict[str, str]:
    """Hides GPUs that nothing served here can use, or that are not to be used.

    Triton would place every KIND_AUTO instance on them, and a backend whose library is for the CPU would have to refuse
    it. Left to itself, a server sees them where ONNX Runtime can use them, where a config.pbtxt asks for one, and where
    PyTorch can use them and nothing would be placed there that cannot.
    """
    seen = options.gpus
    if seen is None:
        configs = _configs(options)
        seen = _installed("onnxruntime-gpu") or any(map(asks_for_gpu, configs)) or _suits_pytorch(configs)
    return {} if seen else {"CUDA_VISIBLE_DEVICES": ""}


def _suits_pytorch(configs: Sequence[str]) -> bool:
    """Whether PyTorch would run on a GPU, and nothing else would have to."""
    automatic = [backend_of(config) for config in configs if not re.search(r"\bKIND_(CPU|MODEL)\b", config)]
    served = {backend for backend in automatic if backend not in ("ensemble", "")}
    return bool(served & {"python", "pytorch"}) and served <= {"python", "pytorch"} and _is_cuda_build_of_torch()


def _is_cuda_build_of_torch() -> bool:
    """By what it was installed with; importing it would take seconds."""
    try:
        return any(name.startswith("nvidia-") for name in metadata.requires("torch") or ())
    except metadata.PackageNotFoundError:
        return False


def _installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def backend_of(config: str) -> str:
    """The backend that a config.pbtxt without its comments names, or "ensemble"; empty where it names none."""
    found = re.search(r"\b(?:backend|platform)\s*:\s*[\"']([^\"']*)[\"']", config)
    return {"pytorch_libtorch": "pytorch", "onnxruntime_onnx": "onnxruntime"}.get(found[1], found[1]) if found else ""


def asks_for_gpu(config: str) -> bool:
    """Whether a config.pbtxt asks for a GPU: by KIND_GPU, or by a backend that has no other kind."""
    text = without_comments(config)
    return bool(re.search(r"\bKIND_GPU\b|\bbackend\s*:\s*[\"']tensorrt(_rtx)?[\"']|\btensorrt_plan\b", text))


def _configs(options: ServerOptions) -> list[str]:
    """The configuration of each model that is served, or may be loaded later."""
    asked = with_steps(options.repository, options.models, options.config_name)
    names = asked or model_folders(options.repository)
    return [config_text(options.repository / name, options.config_name) for name in sorted(names)]


def spawn_supervisor(
    folder: Path,
    options: ServerOptions,
    log_path: Path,
    command: list[str],
    environment: dict[str, str],
    lifeline: int | None = None,
) -> subprocess.Popen[bytes]:
    """Starts the supervisor of `command`, in a session of its own: a terminal's Ctrl-C does not reach it.

    Args:
        folder: where the server is written down.
        options: of the server.
        log_path: a file for all output; begun anew.
        command: tritonserver's command line.
        environment: of the supervisor and of Triton.
        lifeline: the reading end of a pipe; its end of file ends the server.

    Raises:
        OSError: the log cannot be written.
    """
    supervisor = [sys.executable, "-m", "modelyard_server.supervisor", f"--folder={folder}"]
    supervisor.append(f"--exit-timeout={options.exit_timeout_s}")
    inherited = [] if lifeline is None else [lifeline]
    with log_path.open("wb") as log:
        return subprocess.Popen(
            [*supervisor, *(f"--lifeline={fd}" for fd in inherited), "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=inherited,
            start_new_session=True,
        )
