"""A small random Longformer: it decides by the values of its mask, so no graph holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from modelyard_build.adoption.origin import Wish
from modelyard_build.adoption.origins.hugging_face import open_model
from modelyard_build.model import Arrays, PythonModel
from support.adoption import declared_as_it_is
from support.hugging_face import save

NAME = "longformer"


@contextmanager
def declare(folder: Path) -> Iterator[PythonModel]:
    """What `modelyard new` declares of a folder of it, which is written here."""
    save(NAME, folder)
    wish = Wish(NAME, str(folder))
    with declared_as_it_is(wish, open_model(wish)) as model:
        yield model


def logits(folder: Path, inputs: Arrays) -> Any:
    """What transformers itself answers with the model of the folder."""
    model = transformers.LongformerForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits.numpy()


def tokens(batch: int, length: int) -> Arrays:
    """Random ones, the second half of the last row padded."""
    ids = np.random.default_rng(3).integers(3, 300, (batch, length), dtype=np.int64)
    mask = np.ones_like(ids)
    mask[-1, length // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
