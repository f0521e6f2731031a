"""From a configuration and a version folder to a model that keeps the contract."""

from __future__ import annotations

import os
from pathlib import Path

from modelyard_server.backend_support.artefact import artefact_name, require_artefact
from modelyard_server.backend_support.autocomplete import Completion
from modelyard_server.backend_support.batching import plan
from modelyard_server.backend_support.instance import Loaded, Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.threads import available_cores
from modelyard_server.backends.openvino.autocomplete import complete
from modelyard_server.backends.openvino.contract import check_kind, load_warnings
from modelyard_server.backends.openvino.graph import model_signature
from modelyard_server.backends.openvino.session import OpenVinoSession, has_batch, read_model
from modelyard_server.backends.openvino.settings import model_settings

DEFAULT_FILENAME = "model.xml"


def read_completion(config: ModelConfig, version_folder: Path) -> Completion:
    """What the artefact adds to a configuration that leaves something out.

    Raises:
        ModelLoadError: The artefact cannot be read, or says too little.
    """
    path = _artefact(config, version_folder)
    name = artefact_name(path, version_folder)
    model = read_model(path, name)
    return complete(config, model_signature(model, name), has_batch=has_batch(model))


def load(config: ModelConfig, version_folder: Path, placement: Placement) -> Loaded:
    """The model of one instance, its contract checked.

    Raises:
        ModelLoadError: The artefact cannot be read, or the configuration contradicts it.
    """
    check_kind(placement.kind)
    path = _artefact(config, version_folder)
    settings = model_settings(config, _cores_to_share(config))
    session = OpenVinoSession(path, artefact_name(path, version_folder), config, settings)
    warnings = load_warnings(config, settings)
    return Loaded(session, plan(config, session.signature, fixed_batch=not settings.batch_padding), warnings)


def _artefact(config: ModelConfig, version_folder: Path) -> Path:
    """A file, or a folder in the case of TensorFlow's saved_model."""
    filename = config.raw.get("default_model_filename") or DEFAULT_FILENAME
    return require_artefact(version_folder / filename, version_folder)


def _cores_to_share(config: ModelConfig) -> int | None:
    """OpenVINO's own default knows the affinity of this process, but neither its quota nor the other instances."""
    cores = available_cores()
    return None if config.instances() == 1 and cores == len(os.sched_getaffinity(0)) else cores
