"""The embedded Triton where shared memory or the disk runs full, in a mount namespace with tiny file systems."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelyard_server.install import TRITON_FOLDER, install_triton
from support.triton import options_on_free_ports, write_model

pytestmark = pytest.mark.live

TESTS = Path(__file__).parent.parent
NAMESPACES = (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])

SCRIPT = """
import json, os, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from modelyard_server.control import load_model, model_states
from modelyard_server.errors import ServerError
from modelyard_server.process import ServerOptions, TritonServer
from support.triton import infer, left_behind
server = TritonServer(ServerOptions(Path(sys.argv[2]), *map(int, sys.argv[3:6])))
def tell(**facts):
    print(json.dumps(facts))
def mount(place, size):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
"""

FULL_SHARED_MEMORY = """
mount("/dev/shm", "2500k")
server.start()
state = server.state
try:
    server.wait_ready()
    reasons = {}
except ServerError as error:
    reasons = error.reasons
served = {row.name for row in model_states(server.http_url)} - set(reasons)
answers = [infer(server.http_url, model, [1.0]) for model in served]
server.stop()
tell(reasons=list(reasons.values()), answers=answers, left=left_behind(state))
"""

FULL_DISK = """
cache = Path(os.environ["MODELYARD_CACHE"])
(cache / "run").mkdir()
mount(cache / "run", "48k")
server.start()
state = server.state
server.wait_ready()
filler = cache / "run" / "filler"
try:
    filler.write_bytes(bytes(1 << 20))
except OSError:
    pass
load_model(server.http_url, "a")
answers = [infer(server.http_url, "a", [1.0])]
try:
    TritonServer(ServerOptions(Path(sys.argv[2]), *map(int, sys.argv[6:9]))).start()
    refused = ""
except ServerError as error:
    refused = str(error)
server.stop()
tell(refused=refused, answers=answers, left=left_behind(state))
"""


def namespace() -> list[str]:
    """The command under which file systems can be mounted for one process tree; the test is skipped without one."""
    for command in NAMESPACES:
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
        ):
            return command
    pytest.skip("this machine lets nobody mount file systems")


def facts_of(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs a script over a repository of three models, in a mount namespace with its own cache; what it tells."""
    for name in "abc":
        write_model(tmp_path / "repository", name)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / TRITON_FOLDER).symlink_to(install_triton().root)
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "cache"))
    ports = [*options_on_free_ports(tmp_path).ports.values(), *options_on_free_ports(tmp_path).ports.values()]
    arguments = [str(TESTS), str(tmp_path / "repository"), *map(str, ports)]
    command = [*namespace(), sys.executable, "-c", SCRIPT + script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_full_shared_memory_fails_a_model_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose region does not fit is refused with the reason; the others serve, and nothing is left."""
    facts = facts_of(tmp_path, FULL_SHARED_MEMORY, monkeypatch)
    assert facts["left"] == []
    # Whether one or two do not fit depends on how the three loads interleave.
    assert len(facts["reasons"]) in (1, 2)
    assert all("No space left on device" in reason for reason in facts["reasons"])
    assert facts["answers"] == [[1.0]] * (3 - len(facts["reasons"]))


def test_a_full_disk_keeps_the_server_and_refuses_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose log cannot grow goes on serving and stops in order; a new one is refused in one sentence."""
    facts = facts_of(tmp_path, FULL_DISK, monkeypatch)
    assert facts["answers"] == [[1.0]]
    assert "No space left on device. Free space there, or name another cache folder" in facts["refused"]
    assert facts["left"] == []
