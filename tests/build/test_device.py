"""The one setting for the device: what it may say, what it hides, and what it refuses."""

from __future__ import annotations

import os

import pytest

from modelyard_build.errors import BuildError
from modelyard_build.repository import device as module
from modelyard_build.repository.device import VARIABLE, Device, chosen, use
from modelyard_build.repository.gpu import VISIBLE_VARIABLE, Gpu, find_gpu, look
from modelyard_build.repository.hardware import hardware

HOPPER = Gpu("NVIDIA H100 80GB HBM3", "9.0")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `use` writes goes with the test."""
    for name in (VARIABLE, VISIBLE_VARIABLE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with GPUs, as far as the driver's answer goes; none is there where these tests run."""
    monkeypatch.setattr(module, "look", lambda index: HOPPER)


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("auto", Device("auto")),
        ("cpu", Device("cpu")),
        ("gpu", Device("gpu")),
        ("gpu:3", Device("gpu", 3, is_one=True)),
        # What an unset variable is in a compose file.
        ("", Device("auto")),
    ],
)
def test_what_the_environment_may_say(text: str, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four forms; left out it is auto."""
    assert chosen() == Device("auto")
    monkeypatch.setenv(VARIABLE, text)
    assert chosen() == device


@pytest.mark.parametrize("text", ["cuda", "CPU", "gpu:", "gpu:-1", "gpu:x", "cpu:0", "0"])
def test_another_value_is_refused_with_what_it_can_be(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says where it stands, what it is and what it may be."""
    with pytest.raises(BuildError, match=rf"--device is '{text}'; it can be auto, cpu, gpu, or gpu:N"):
        use(text)
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(BuildError, match=rf"MODELYARD_DEVICE is '{text}'; it can be"):
        hardware()


def test_the_cpu_leaves_every_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option wins, and is what everything started from here finds."""
    monkeypatch.setenv(VARIABLE, "gpu")
    assert use("cpu") == Device("cpu")
    assert (os.environ[VARIABLE], os.environ[VISIBLE_VARIABLE]) == ("cpu", "")
    assert hardware().gpu is None


@pytest.mark.parametrize(
    ("device", "before", "after"),
    [
        ("gpu", None, None),
        ("gpu", "2,3", "2,3"),
        ("gpu:1", None, "1"),
        ("gpu:1", "2,3", "3"),
        ("gpu:0", "GPU-8a,1", "GPU-8a"),
    ],
)
def test_one_gpu_is_the_only_one_to_be_seen(
    gpus: None, device: str, before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number counts among those that CUDA_VISIBLE_DEVICES shows; asked again, it is the same one."""
    if before is not None:
        monkeypatch.setenv(VISIBLE_VARIABLE, before)
    for asked in (device, None):
        use(asked)
        assert os.environ.get(VISIBLE_VARIABLE) == after
        assert chosen() == Device("gpu")


def test_auto_changes_nothing() -> None:
    """Where nothing was asked for, the libraries see what they saw."""
    assert use() == Device("auto")
    assert VISIBLE_VARIABLE not in os.environ


@pytest.mark.skipif(find_gpu() is not None, reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["gpu", "gpu:1"])
def test_a_gpu_that_is_asked_for_must_be_there(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked, what was looked for, and the way on, whoever finds out."""
    reason = look(0)
    assert isinstance(reason, str)
    assert "libcuda.so.1" in reason or "NVIDIA driver" in reason
    for said_by, ask in ((rf"--device {device}", lambda: use(device)), (VARIABLE, hardware)):
        monkeypatch.setenv(VARIABLE, device)
        with pytest.raises(BuildError, match=rf"{said_by} asks for a GPU that is not there: .*driver.*--device cpu"):
            ask()


def test_a_number_that_no_gpu_has_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not end up on another one."""
    monkeypatch.setenv(VISIBLE_VARIABLE, "2,3")
    monkeypatch.setattr(module, "look", lambda index: "nothing there")
    with pytest.raises(BuildError, match="--device gpu:2 asks for a GPU that is not there: nothing there"):
        use("gpu:2")
    assert os.environ[VISIBLE_VARIABLE] == ""
