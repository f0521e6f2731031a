"""Whisper's decoder as the ONNX graphs that the serving loop runs: `cross.onnx` for a window, `token.onnx` for a token.

Tensors are called as the loop calls them: `key_0`, `value_0`… hold the tokens before, `new_key_0`… come out grown.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import nn
from torch.export import Dim

from modelyard_build.errors import ExportFailed
from modelyard_build.nets.whisper import HEAD_SIZE, CrossCache, Decoder

CROSS, TOKEN = "cross.onnx", "token.onnx"
OPSET = 20
# Sizes of the traced example: none is 1, none is another's.
_WINDOWS, _BEAMS, _NEW, _BEFORE = 2, 3, 4, 5
_FRAMES = 7


def write(decoder: Decoder, frames: int, folder: Path) -> None:
    """Writes both graphs.

    Args:
        decoder: in eval mode.
        frames: how many states the encoder gives for a window.
        folder: where to.

    Raises:
        ExportFailed: PyTorch refused.
    """
    layers = range(len(decoder.layers))
    width = decoder.embed_tokens.embedding_dim
    cross = [f"cross_{kind}_{layer}" for kind in ("key", "value") for layer in layers]
    past = [f"{kind}_{layer}" for kind in ("key", "value") for layer in layers]
    windows = Dim("windows", min=1, max=1 << 16)
    _export(
        CrossCache(decoder),
        (torch.zeros(_WINDOWS, frames, width),),
        ({0: windows},),
        ["states"],
        cross,
        folder / CROSS,
    )
    beams, new, before = (Dim(name, min=1, max=1 << 16) for name in ("beams", "new", "before"))
    keys, values = _past(decoder)
    cross_keys, cross_values = _cross(decoder, frames)
    some = [{0: windows, 1: beams, 4: before}] * len(layers), [{0: windows, 1: beams, 3: before}] * len(layers)
    all_of = [{0: windows}] * len(layers)
    _export(
        decoder,
        (torch.zeros(_WINDOWS, _BEAMS, _NEW, dtype=torch.int64), keys, values, cross_keys, cross_values),
        ({0: windows, 1: beams, 2: new}, *some, all_of, all_of),
        ["tokens", *past, *cross],
        ["logits", *(f"new_{name}" for name in past)],
        folder / TOKEN,
    )


def _past(decoder: Decoder) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    heads = decoder.embed_tokens.embedding_dim // HEAD_SIZE
    return (
        [torch.zeros(_WINDOWS, _BEAMS, heads, HEAD_SIZE, _BEFORE) for _ in decoder.layers],
        [torch.zeros(_WINDOWS, _BEAMS, heads, _BEFORE, HEAD_SIZE) for _ in decoder.layers],
    )


def _cross(decoder: Decoder, frames: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    heads = decoder.embed_tokens.embedding_dim // HEAD_SIZE
    return (
        [torch.zeros(_WINDOWS, heads, HEAD_SIZE, frames) for _ in decoder.layers],
        [torch.zeros(_WINDOWS, heads, frames, HEAD_SIZE) for _ in decoder.layers],
    )


def _export(
    module: nn.Module,
    example: tuple[Any, ...],
    dynamic_shapes: tuple[Any, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    path: Path,
) -> None:
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=dynamic_shapes,
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:
        raise ExportFailed(f"{path.name}: {' '.join(str(error).split())[:500]}") from error
    if program is None:
        raise ExportFailed(f"{path.name}: PyTorch exported nothing and gave no reason.")
    _without_traces(program.model)
    program.save(str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's chatter off the terminal."""
    said = io.StringIO()
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(level)


def _without_traces(model: ir.Model) -> None:
    """Drops stack traces, with the paths of the machine that exported: the same weights give the same bytes."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
