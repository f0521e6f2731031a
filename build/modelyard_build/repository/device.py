"""The one setting that says what is built for, measured on and served on, and the one place that reads it.

`MODELYARD_DEVICE`, or a command's `--device`, which wins:

- `auto`: a GPU where there is one, else the CPU.
- `cpu`: no GPU, though there may be one.
- `gpu`, `gpu:1`: the GPUs, or the one with that number among those that CUDA_VISIBLE_DEVICES shows; an error where
  there is none.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from modelyard_build.errors import BuildError
from modelyard_build.repository.gpu import VISIBLE_VARIABLE, look

VARIABLE = "MODELYARD_DEVICE"
HELP = "auto (a GPU where there is one), cpu, gpu, or gpu:1 for the second. [default: $MODELYARD_DEVICE, else auto]"


@dataclass(frozen=True)
class Device:
    """What was asked for.

    Attributes:
        kind: "auto", "cpu" or "gpu".
        index: of the GPU.
        is_one: whether that GPU alone is meant.
    """

    kind: str
    index: int = 0
    is_one: bool = False


def chosen() -> Device:
    """What the environment asks for.

    Raises:
        BuildError: the variable says something else.
    """
    return _parsed(os.environ.get(VARIABLE) or "auto", VARIABLE)


def use(device: str | None = None) -> Device:
    """Takes a command's choice, else the environment's, for this process and all that it starts.

    The libraries that compute see no other GPU then: there is one setting, and not one for each of them. To be called
    before any of them has looked.

    Args:
        device: what `--device` says; None where it was left out.

    Raises:
        BuildError: it says something else, or asks for a GPU that is not there; the message has what was looked for.
    """
    found = _parsed(device, "--device") if device is not None else chosen()
    if found.kind == "cpu":
        os.environ[VISIBLE_VARIABLE] = ""
    elif found.is_one:
        os.environ[VISIBLE_VARIABLE] = _visible(found.index)
    # Counted among those that are visible now.
    os.environ[VARIABLE] = found.kind
    if found.kind == "gpu":
        check(Device("gpu"), f"--device {device}" if device else f"{VARIABLE}")
    return found


def check(device: Device, said_by: str) -> None:
    """Refuses a GPU that is not there.

    Raises:
        BuildError: with what was looked for.
    """
    if isinstance(reason := look(device.index), str):
        raise BuildError(
            f"{said_by} asks for a GPU that is not there: {reason}. See what `nvidia-smi` says, or take the CPU: "
            f"--device cpu, or {VARIABLE}=cpu."
        )


def _parsed(text: str, said_by: str) -> Device:
    found = re.fullmatch(r"auto|cpu|gpu(?::(\d{1,3}))?", text)
    if found is None:
        raise BuildError(f"{said_by} is {text!r}; it can be auto, cpu, gpu, or gpu:N for the GPU with the number N.")
    number = found[1]
    return Device(text.partition(":")[0], int(number or 0), number is not None)


def _visible(index: int) -> str:
    """What CUDA_VISIBLE_DEVICES has to say for one of those that it shows."""
    stated = os.environ.get(VISIBLE_VARIABLE)
    if stated is None:
        return str(index)
    shown = [name for name in stated.split(",") if name]
    # A number that none has shows none.
    return shown[index] if index < len(shown) else ""
