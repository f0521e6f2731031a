"""A small random Longformer: it decides by the values of its mask, so no graph holds it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from modelyard_build.adoption import fallback
from modelyard_build.adoption.inspection import inspect
from modelyard_build.adoption.origin import Opened, Wish
from modelyard_build.adoption.origins.hugging_face import open_model
from modelyard_build.model import Arrays, PythonModel
from support.hugging_face import save

NAME = "longformer"


def declare(folder: Path) -> PythonModel:
    """What `modelyard new` declares of a folder of it, which is written here; read as Python reads it."""
    save(NAME, folder)
    wish = Wish(NAME, str(folder))
    model = read(wish, open_model(wish), folder)
    assert isinstance(model, PythonModel)
    return model


def read(wish: Wish, opened: Opened, folder: Path) -> Any:
    """The step that a declaration ends in, written into a folder."""
    assert opened.as_it_is is not None
    inspected = inspect(opened, lambda line: None)
    path = folder / f"{wish.name}.py"
    path.write_text(fallback.render(wish, opened, opened.as_it_is, inspected))
    np.savez(path.with_suffix(".npz"), **inspected.example)
    specification = importlib.util.spec_from_file_location(f"declared_{wish.name}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    (model,) = module.MODELS
    return model


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
