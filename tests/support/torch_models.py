"""Small PyTorch models for tests, and the folders that Triton loads them from.

Annotations are evaluated, as TorchScript reads those of a buffer.
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


class Pair(nn.Module):
    """Input x [batch, n] -> (2x, -x)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        return 2 * x, -x


class Scale(nn.Module):
    """Inputs x and factor -> x * factor."""

    def forward(self, x: Tensor, factor: Tensor) -> Tensor:
        """The product."""
        return x * factor


class Lookup(nn.Module):
    """Input index INT64 [batch, n] -> row FP32 [batch, n, 2] of a table with 10 rows; fails outside."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(20.0).reshape(10, 2))

    def forward(self, index: Tensor) -> Tensor:
        """The rows."""
        return torch.embedding(self.table, index)


class Slow(nn.Module):
    """Input steps INT64 [batch, 1] -> rows [batch, 1]: the batch's size, after the largest number of slow steps."""

    square: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("square", torch.zeros(1000, 1000))

    def forward(self, steps: Tensor) -> Tensor:
        """Each step multiplies matrices for some 10 ms."""
        h = torch.zeros(500, 1000)
        for _ in range(int(steps.max())):
            h = h @ self.square
        return torch.full_like(steps, steps.shape[0]) + h.max().to(steps.dtype)


class FromDict(nn.Module):
    """A dictionary with a and b -> a + b."""

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        """The sum."""
        return tensors["a"] + tensors["b"]


class Shout(nn.Module):
    """Strings -> the same with an exclamation mark, and their lengths."""

    def forward(self, texts: list[str]) -> tuple[list[str], Tensor]:
        """Both."""
        return [text + "!" for text in texts], torch.tensor([len(text) for text in texts])


class Ragged(nn.Module):
    """Inputs x [total] and ends [requests] -> x doubled [total]."""

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        """Doubled, and checked against the last end."""
        assert int(ends[-1]) == x.shape[0], "the ends are not those of x"
        return 2 * x


class ToDict(nn.Module):
    """Input x -> a dictionary, which no output can be."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The dictionary."""
        return {"y": x}


class ToList(nn.Module):
    """Input x -> a list of tensors, which no output can be."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """The list."""
        return [x]


class Total(nn.Module):
    """Input x -> its sum, a scalar."""

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        return x.sum()


class Keywords(nn.Module):
    """Inputs x and, by keyword, options with scale and shift -> a dictionary with scaled and (shifted,)."""

    def forward(self, x: Tensor, *, options: dict[str, Tensor]) -> dict[str, Tensor | tuple[Tensor]]:
        """Both."""
        return {"scaled": x * options["scale"], "more": (x + options["shift"],)}


def save_script(module: nn.Module, path: Path) -> None:
    """Writes TorchScript, which PyTorch calls deprecated."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module.eval()), str(path))


def save_archive(module: nn.Module, path: Path, *inputs: Tensor, **keywords: object) -> None:
    """Compiles a PT2 archive, its first dimension dynamic where the inputs are alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch", min=1, max=8)
    shapes = None if keywords else tuple({0: batch} for _ in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), inputs, keywords, dynamic_shapes=shapes)
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))


def write_model(repository: Path, name: str, module: nn.Module, config: str) -> Path:
    """Writes ``<name>/config.pbtxt`` and ``<name>/1/model.pt``; returns the model's folder."""
    folder = repository / name
    save_script(module, folder / "1" / "model.pt")
    (folder / "config.pbtxt").write_text(config)
    return folder
