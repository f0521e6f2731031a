"""Where the voice activity detector comes from: silero-vad 6.2.3 (MIT), the graph as its authors publish it."""

from __future__ import annotations

from modelyard_build.assets import Asset, PinnedAsset
from modelyard_build.packages import Wheel

_PACKAGE = Wheel("silero-vad", "6.2.3")

# One chunk of each of several voices at a time; the state goes in and comes out.
GRAPH = PinnedAsset(
    _PACKAGE,
    "silero_vad/data/silero_vad_16k_op15.onnx",
    "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
)
ASSETS: dict[str, Asset] = {"silero graph": GRAPH}
