"""The installation of the real Triton out of its real wheel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modelyard_server import install
from modelyard_server.cache import cache_dir
from modelyard_server.errors import ServerError
from modelyard_server.install import install_perf_analyzer, install_triton, is_triton_installed

INSTALL = """
import sys
from pathlib import Path
from modelyard_server.install import install_triton
steps = set()
install_triton(Path(sys.argv[1]), lambda what, done, total: steps.add(what.split()[0]))
print(*sorted(steps))
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache into which somebody has put Triton's wheel, and nothing is installed."""
    install_triton()
    (tmp_path / "wheels").mkdir()
    wheel = install.TRITON_WHEEL.filename
    (tmp_path / "wheels" / wheel).symlink_to(cache_dir() / "wheels" / wheel)
    return tmp_path


def test_two_processes_install_once(cache: Path) -> None:
    """Of two processes that start together one unpacks; the other waits for it and finds Triton there."""
    command = [sys.executable, "-c", INSTALL, str(cache)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    steps = sorted(process.communicate()[0].strip() for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert steps == ["", "checking unpacking"]
    assert is_triton_installed(cache)


def test_an_installed_triton_is_found_without_work() -> None:
    """The second time nothing is fetched, hashed or unpacked."""
    install_triton()
    told: list[str] = []
    install_triton(progress=lambda what, done, total: told.append(what))
    assert told == []


def test_triton_is_complete() -> None:
    """Each path of the answer is there, and every supported Python has its backend."""
    triton = install_triton()
    assert triton.tritonserver.is_file()
    assert (triton.python_backend / "libtriton_python.so").is_file()
    for version in install.PYTHON_VERSIONS:
        folder = triton.stubs / version
        assert {"libtriton_python.so", "triton_python_backend_stub", "triton_python_backend_utils.py"} <= {
            path.name for path in folder.iterdir()
        }


def test_an_installation_without_its_marker_is_made_again(tmp_path: Path) -> None:
    """A folder that is not marked complete counts as not installed."""
    (tmp_path / install.TRITON_FOLDER).mkdir()
    assert not is_triton_installed(tmp_path)
    (tmp_path / install.TRITON_FOLDER / install.COMPLETE).write_text("the hash of another wheel")
    assert not is_triton_installed(tmp_path)


def test_perf_analyzer_runs() -> None:
    """perf_analyzer finds its libraries under the library path that comes with it."""
    perf_analyzer = install_perf_analyzer()
    done = subprocess.run(
        [perf_analyzer.executable, "--version"],
        env={"LD_LIBRARY_PATH": perf_analyzer.library_path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Perf Analyzer Version" in done.stdout + done.stderr


def test_a_cache_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A cache below a file gives a sentence that names MODELYARD_CACHE."""
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=r"cannot write .*: Not a directory.*another cache folder in MODELYARD_CACHE"):
        install_triton(tmp_path / "file" / "cache")
    (tmp_path / "install.lock").mkdir()
    with pytest.raises(ServerError, match=r"cannot write .*install\.lock: Is a directory"):
        install_triton(tmp_path)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MODELYARD_CACHE comes before XDG_CACHE_HOME, and that before the home folder."""
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == tmp_path
    monkeypatch.delenv("MODELYARD_CACHE")
    assert cache_dir() == Path("/xdg/modelyard")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "modelyard"
