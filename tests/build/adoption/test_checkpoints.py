"""Checkpoints: read as tensors alone, put where they belong, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from modelyard_build.adoption.checkpoints import load_weights
from modelyard_build.errors import AdoptionFailed


class Tied(nn.Module):
    """Two names for one tensor: safetensors writes it once."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.words.weight


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def trained() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return net().state_dict()


WRAPPED: dict[str, Any] = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "lr": 0.1},
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
    "DataParallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "compiled": lambda state: {"model": {f"_orig_mod.{name}": tensor for name, tensor in state.items()}},
    "Lightning": lambda state: {
        "state_dict": {**{f"net.{name}": tensor for name, tensor in state.items()}, "loss.weight": torch.ones(2)}
    },
    "half precision": lambda state: {name: tensor.half() for name, tensor in state.items()},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_usual_wrappers_are_taken_off(kind: str, tmp_path: Path) -> None:
    """What trainers put around a state_dict, and before its names, is no obstacle."""
    path = tmp_path / "weights.pt"
    state = trained()
    torch.save(WRAPPED[kind](state), path)
    module = net()
    load_weights(module, path)
    assert all(torch.allclose(tensor, state[name], atol=1e-3) for name, tensor in module.state_dict().items())


def test_safetensors_with_tied_weights(tmp_path: Path) -> None:
    """A tensor that the file leaves out because it has it under another name is not missing."""
    path = tmp_path / "weights.safetensors"
    save_file({"words.weight": torch.ones(5, 3)}, path)
    module = Tied()
    load_weights(module, path)
    assert bool((module.head.weight == 1).all())


MISFITS: dict[str, Any] = {
    r"missing in the file: 2\.bias": lambda state: {name: state[name] for name in list(state)[:-1]},
    "unknown to the module: extra": lambda state: {**state, "extra": torch.ones(1)},
    r"0\.weight is \[1, 1\], expected \[3, 4\]": lambda state: {**state, "0.weight": torch.ones(1, 1)},
    "holds a list": lambda state: [1, 2],
    "holds a dict of 'epoch'": lambda state: {"epoch": 3},
}


@pytest.mark.parametrize("message", MISFITS)
def test_what_does_not_fit_is_named(message: str, tmp_path: Path) -> None:
    """Missing, unknown and mis-shaped tensors, by name."""
    path = tmp_path / "weights.pt"
    torch.save(MISFITS[message](trained()), path)
    with pytest.raises(AdoptionFailed, match=message):
        load_weights(net(), path)


class Payload:
    """Writes a file where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    """A checkpoint with more than tensors is refused, nothing in it runs, and the way out is named."""
    path, target = tmp_path / "weights.pt", tmp_path / "ran"
    torch.save({"state_dict": trained(), "more": Payload(target)}, path)
    with pytest.raises(AdoptionFailed, match=r"(?s)nothing in it was run.*save_file\(model\.state_dict\(\)"):
        load_weights(net(), path)
    assert not target.exists()


def damaged(path: Path, kind: str) -> Path:
    content = {"empty": b"", "pointer": b"version https://git-lfs.github.com/spec/v1\n", "text": b"hello"}
    if kind in content:
        path.write_bytes(content[kind])
    if kind == "cut off":
        torch.save(trained(), path)
        path.write_bytes(path.read_bytes()[:600])
    return path


@pytest.mark.parametrize("kind", ["empty", "pointer", "text", "cut off", "missing"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damaged_files_are_refused(kind: str, suffix: str, tmp_path: Path) -> None:
    """A file that is no checkpoint is named with what it is."""
    with pytest.raises(AdoptionFailed, match="weights"):
        load_weights(net(), damaged(tmp_path / f"weights{suffix}", kind))
