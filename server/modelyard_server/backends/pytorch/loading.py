"""From a configuration and a version folder to a PyTorch model that keeps the contract."""

from __future__ import annotations

from pathlib import Path

from modelyard_server.backend_support.artefact import artefact_name, require_artefact
from modelyard_server.backend_support.batching import plan
from modelyard_server.backend_support.instance import Loaded, Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.threads import available_cores
from modelyard_server.backends.pytorch.archive import ArchiveModel
from modelyard_server.backends.pytorch.contract import archive_warnings, check_config, declared_signature
from modelyard_server.backends.pytorch.session import apply, device_of
from modelyard_server.backends.pytorch.settings import model_settings
from modelyard_server.backends.pytorch.torchscript import TorchScriptModel

ARCHIVE_PLATFORM = "torch_aoti"
ARCHIVE_SUFFIX = ".pt2"


def load(config: ModelConfig, version_folder: Path, placement: Placement) -> Loaded:
    """The model of one instance, its contract checked.

    Raises:
        ModelLoadError: The artefact cannot be read, or the configuration contradicts it.
    """
    path = require_artefact(version_folder / _filename(config), version_folder)
    name = artefact_name(path, version_folder)
    check_config(config, name)
    settings = model_settings(config, available_cores())
    device = device_of(placement)
    apply(settings)
    archive = _is_archive(config)
    runtime = (ArchiveModel if archive else TorchScriptModel)(path, name, config, settings, device)
    warnings = archive_warnings(config) if archive else []
    if settings.weight_sharing:
        warnings.append("ENABLE_WEIGHT_SHARING has no effect here: each instance is a process of its own")
    return Loaded(runtime, plan(config, declared_signature(config, name)), warnings)


def _filename(config: ModelConfig) -> str:
    given = str(config.raw.get("default_model_filename", ""))
    return given or ("model.pt2" if config.raw.get("platform") == ARCHIVE_PLATFORM else "model.pt")


def _is_archive(config: ModelConfig) -> bool:
    return config.raw.get("platform") == ARCHIVE_PLATFORM or _filename(config).endswith(ARCHIVE_SUFFIX)
