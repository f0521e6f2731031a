"""What the transformers library makes of texts: the reference for the tokenizer that is served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import transformers

from modelyard_build.model import Arrays


def tokenize(path: Path, tokenizer_class: str, texts: Sequence[str], max_length: int) -> Arrays:
    """Cuts texts into tokens.

    Args:
        path: a tokenizer.json.
        tokenizer_class: the class of transformers that reads it.
        texts: n of them.
        max_length: tokens that are kept of each, special tokens included.

    Returns:
        `input_ids` and `attention_mask`, int64 [n, longest], padded to the longest of them with the tokenizer's own
        padding.
    """
    tokenizer = getattr(transformers, tokenizer_class)(tokenizer_file=str(path), model_max_length=max_length)
    encoded = tokenizer(list(texts), truncation=True, max_length=max_length, padding="longest", return_tensors="np")
    return {name: encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
