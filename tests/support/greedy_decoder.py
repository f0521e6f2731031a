"""A module that cannot be exported, as a user's own files: a decoder whose loop ends where every row has said stop."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelyard_build import module_step
from modelyard_build.adoption.adapter import adapt
from modelyard_build.assets import LocalAsset
from modelyard_build.model import Arrays, Axis, DynamicBatching, Model, PythonModel, Tensor

WORDS, LONGEST, MAX_BATCH_SIZE = 50, 12, 8
PRINTED, EXITS, RAISES = 40, 41, 42

VOCABULARY = """\
WORDS, STOP, LONGEST = 50, 0, 12
"""

DECODER = '''\
import math

import torch
from torch import Tensor, nn
from vocabulary import LONGEST, STOP, WORDS

PRINTED, EXITS, RAISES = 40, 41, 42


class GreedyDecoder(nn.Module):
    """Reads tokens, then says the likeliest word after the other until it says stop."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 32)
        self.reader = nn.GRU(32, 32, batch_first=True)
        self.cell = nn.GRUCell(32, 32)
        self.out = nn.Linear(32, WORDS)

    def forward(self, tokens: Tensor, temperature: Tensor) -> dict[str, Tensor]:
        """int64 [batch, n], float [batch, 1] -> words int64 [batch, LONGEST], score float [batch], states float."""
        self.misbehave(tokens)
        state = self.reader(self.embedding(tokens))[1][0]
        words = torch.full((len(tokens), LONGEST), STOP, device=tokens.device)
        score = torch.zeros_like(state[:, 0])
        word = tokens[:, -1]
        going = torch.ones_like(word, dtype=torch.bool)
        for step in range(LONGEST):
            # A row that has said stop stays as it is, whatever the rows beside it do.
            state = torch.where(going[:, None], self.cell(self.embedding(word), state), state)
            likelihood = torch.log_softmax(self.out(state) / temperature, -1)
            likeliest, word = likelihood.max(-1)
            words[:, step] = torch.where(going, word, STOP)
            score = score + likeliest * going
            going = going & (word != STOP)
            if not going.any():
                break
        return {"words": words, "score": score, "state": state.detach() * math.sqrt(2)}

    def misbehave(self, tokens: Tensor) -> None:
        """What people's modules do."""
        if (tokens == PRINTED).any():
            print("a printed token came\\nin two lines")
        if (tokens == EXITS).any():
            raise SystemExit(3)
        if (tokens == RAISES).any():
            raise ValueError("token 42 means nothing")
'''


def write(folder: Path) -> Path:
    """Writes the user's files and trained-like weights: a stop comes after a few words, in each row after others."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocabulary.py").write_text(VOCABULARY)
    (folder / "greedy_decoder.py").write_text(DECODER)
    torch.manual_seed(11)
    module = imported(folder).GreedyDecoder()
    with torch.no_grad():
        module.out.weight.mul_(4)
    torch.save(module.state_dict(), folder / "decoder.pt")
    return folder


def imported(folder: Path) -> Any:
    """The user's file, imported as this process does it."""
    sys.path.insert(0, str(folder))
    specification = importlib.util.spec_from_file_location("greedy_decoder", folder / "greedy_decoder.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    sys.path.remove(str(folder))
    return module


def load(files: Mapping[str, Path]) -> torch.nn.Module:
    """The module for the proof."""
    module: torch.nn.Module = imported(files["weights"].parent).GreedyDecoder()
    module.load_state_dict(torch.load(files["weights"], weights_only=True))
    return module.eval()


def examples(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """Random tokens, and a temperature for each row."""
    generator = np.random.default_rng(3)
    temperature = generator.uniform(0.5, 2, (batch, 1)).astype(np.float32)
    return {"tokens": generator.integers(1, PRINTED, (batch, sizes["sequence"])), "temperature": temperature}


PLACES = {"words": "words", "score": "score", "state": "state"}
MODEL = Model(
    name="decoder",
    summary="says words until it says stop",
    load=lambda files: adapt(load(files), ["tokens", "temperature"], PLACES),
    inputs=(Tensor("tokens", "INT64", (Axis("sequence", 1, 16),)), Tensor("temperature", "FP32", (1,))),
    outputs=(
        Tensor("words", "INT64", (LONGEST,)),
        Tensor("score", "FP32", (1,)),
        Tensor("state", "FP32", (32,)),
    ),
    examples=examples,
    assets={},
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=DynamicBatching(200_000, 64, 0),
)


def declare(folder: Path) -> PythonModel:
    """The decoder, served as it is."""
    return module_step.as_it_is(
        replace(MODEL, assets={"weights": LocalAsset(folder / "decoder.pt")}),
        module="greedy_decoder:GreedyDecoder",
        sources={name: LocalAsset(folder / name) for name in ("greedy_decoder.py", "vocabulary.py")},
        original=load,
        places=PLACES,
    )
