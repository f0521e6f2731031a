"""How far an artefact may be from PyTorch: three classes, each with its own bound and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quality:
    """A class of artefacts, and what is asked of it.

    Attributes:
        name: "exact", "near" or "quantised".
        noise_dtype: the element error is measured in units of the rounding that PyTorch itself shows in this dtype
            (its answers in it against its float64 answers). Empty: no such bound is to be had (integers have none).
        noise_factor: the largest element error allowed, in those units.
        min_cosine: the least cosine similarity to PyTorch's, of each row along the last dimension.
        min_class_cosine: the same for outputs that have labels. Softmax turns small differences into large ones where a
            net is unsure, and the order of the classes is asked for besides.
        min_agreement: the least share of rows (0 to 1) whose largest element is the same as PyTorch's, for outputs that
            have labels; see `similarity.agreement`.
        max_metric_loss: how much worse the task's figure may be than PyTorch's, in points (of 100).
    """

    name: str
    noise_dtype: str
    noise_factor: float
    min_cosine: float
    min_class_cosine: float
    min_agreement: float
    max_metric_loss: float


# Another order of summation and nothing else: as far from float64 as PyTorch's own float32 is, give or take.
EXACT = Quality("exact", "float32", 4.0, 0.99999, 0.99999, 1.0, 0.1)
# Products of 8 or 11 significant bits, summed in float32: no further away than PyTorch's own bfloat16 or float16.
NEAR = Quality("near", "bfloat16", 2.0, 0.9999, 0.99, 0.99, 0.25)
NEAR_HALF = Quality("near", "float16", 4.0, 0.9999, 0.99, 0.99, 0.25)
# 256 levels: no rounding bound holds, the vectors and the task's figure decide.
QUANTISED = Quality("quantised", "", 0.0, 0.99, 0.95, 0.97, 0.5)
