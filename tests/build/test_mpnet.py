"""The passage encoder: the library's own answers at every length, in PyTorch and as an ONNX graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from modelyard_build.export import export
from modelyard_build.models.passage_embedder import ENCODER, TOKENS, load
from modelyard_build.nets.mpnet import PassageEncoder, load_mpnet
from modelyard_build.precision.sessions import Session
from support.small_passages import declare, write_small_mpnet

LENGTHS = (3, 8, 17, 33, 65, 130, 384)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_small_mpnet(tmp_path_factory.mktemp("mpnet"))


def tokens(length: int) -> dict[str, Tensor]:
    """Four rows: full; padded on the right; padded on the left; with the token of padding in its middle."""
    torch.manual_seed(length)
    ids = torch.randint(3, 60, (4, length))
    mask = torch.ones_like(ids)
    ids[1, length // 2 :] = mask[1, length // 2 :] = 0
    ids[2, : length // 2] = mask[2, : length // 2] = 0
    ids[mask == 0] = TOKENS.padding
    ids[3, length // 2] = TOKENS.padding
    return {"input_ids": ids, "attention_mask": mask}


def published(files: dict[str, Path], rows: dict[str, Tensor]) -> Tensor:
    """The card of the model: the library's encoder, the mean of the tokens, unit length."""
    states = load_mpnet(files)(**rows).last_hidden_state
    weights = rows["attention_mask"].unsqueeze(-1).float()
    return functional.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)


@pytest.mark.parametrize("length", LENGTHS)
def test_answers_are_the_librarys(files: dict[str, Path], length: int) -> None:
    """At distances of every bucket, with padding on either side, and where a text holds the token of padding."""
    rows = tokens(length)
    with torch.inference_mode():
        torch.testing.assert_close(load(files)(**rows), published(files, rows), rtol=0, atol=1e-6)


def test_a_longer_text_than_the_model_knows_has_no_bias(files: dict[str, Path]) -> None:
    """It is refused, where a table that is read past its end would give any number."""
    encoder = PassageEncoder(load_mpnet(files))
    assert encoder.position_bias(512).shape == (1, 4, 512, 512)
    with pytest.raises(IndexError):
        encoder.position_bias(513)


def test_the_graph_answers_alike_at_every_length(files: dict[str, Path], tmp_path: Path) -> None:
    """One graph, traced at one length; its buckets are constants, since a logarithm differs between runtimes."""
    encoder = next(model for model in declare(tmp_path) if model.name == ENCODER.name)
    proto = export(encoder, load(files), {**files, "test": _complaints()})  # type: ignore[arg-type]  # found by name
    assert not {"Log", "CumProd", "If", "Loop"} & {node.op_type for node in proto.graph.node}
    onnx.checker.check_model(proto, full_check=True)
    session = Session(proto)
    for length in LENGTHS:
        rows = tokens(length)
        answer = session({name: tensor.numpy() for name, tensor in rows.items()})["embedding"]
        with torch.inference_mode():
            np.testing.assert_allclose(answer, published(files, rows).numpy(), rtol=0, atol=1e-5)


def _complaints() -> Path:
    from modelyard_build.assets import fetch
    from modelyard_build.datasets import complaints

    return fetch({"test": complaints.TEST}, print)["test"]
