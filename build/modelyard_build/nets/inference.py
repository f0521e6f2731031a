"""PyTorch's own answers to texts: the reference that a served system is held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from modelyard_build.model import Arrays

BATCH_SIZE = 32
_WHOLE = 1_000_000


def run_texts(
    module: nn.Module,
    tokenize: Callable[[Sequence[str], int], Arrays],
    texts: Sequence[str],
    max_length: int,
    output: str,
) -> Arrays:
    """Runs an encoder over texts, those of similar length together.

    Args:
        module: takes `input_ids` and `attention_mask`, int64 [batch, sequence]; gives float [batch, width].
        tokenize: `tokenize(texts, max_length)`: both of these, for a batch.
        texts: n of them.
        max_length: tokens that are kept of each.
        output: the name of what the module gives.

    Returns:
        `output` [n, width] in the order of `texts`, and `token_count` int32 [n, 1] before the cut.
    """
    order = np.argsort([len(text) for text in texts], kind="stable")
    rows = []
    for start in range(0, len(order), BATCH_SIZE):
        tokens = tokenize([texts[index] for index in order[start : start + BATCH_SIZE]], max_length)
        with torch.inference_mode():
            rows.append(module(**{name: torch.from_numpy(array) for name, array in tokens.items()}).numpy())
    values = np.concatenate(rows)
    restored = np.empty_like(values)
    restored[order] = values
    counts = tokenize(texts, _WHOLE)["attention_mask"].sum(1, dtype=np.int32, keepdims=True)
    return {output: restored, "token_count": counts}
