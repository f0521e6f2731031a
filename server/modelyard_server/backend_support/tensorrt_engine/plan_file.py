"""Which engine of a version a GPU runs."""

from __future__ import annotations

from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig

DEFAULT_FILENAME = "model.plan"


def plan_filename(config: ModelConfig, compute_capability: str) -> str:
    """The file of `cc_model_filenames` for this GPU, or where there is no such map the default.

    The container takes `default_model_filename` for a GPU that the map does not name, and says nothing; most often that
    engine is of another GPU.

    Args:
        config: The model's configuration.
        compute_capability: Of the GPU, ``9.0``.

    Raises:
        ModelLoadError: There is a map, and it does not name this GPU.
    """
    by_capability = config.raw.get("cc_model_filenames") or {}
    if not by_capability:
        return str(config.raw.get("default_model_filename") or DEFAULT_FILENAME)
    if compute_capability not in by_capability:
        raise ModelLoadError(
            f"cc_model_filenames has no engine for compute capability {compute_capability}, which this GPU has; it has "
            f"{', '.join(sorted(by_capability))}: build one on this GPU and list it"
        )
    return str(by_capability[compute_capability])
