"""From a configuration and a version folder to a session that keeps the contract."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from modelyard_server.backend_support.artefact import artefact_name
from modelyard_server.backend_support.batching import plan
from modelyard_server.backend_support.instance import Loaded, Placement
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.signature import Signature
from modelyard_server.backend_support.threads import available_cores
from modelyard_server.backends.onnxruntime.contract import check_contract, load_warnings
from modelyard_server.backends.onnxruntime.providers import execution_providers, ignored_accelerators
from modelyard_server.backends.onnxruntime.session import OnnxSession, find_artefact, glance_options, session_options
from modelyard_server.backends.onnxruntime.settings import session_settings


def read_signature(config: ModelConfig, version_folder: Path) -> Signature:
    """The inputs and outputs of the artefact, for a configuration that leaves some out.

    Raises:
        ModelLoadError: The artefact cannot be read, or a setting is not what it must be.
    """
    path, name = _artefact(config, version_folder)
    providers = execution_providers(config, _kind(config), 0, onnxruntime.get_available_providers())
    return OnnxSession(path, name, glance_options(session_settings(config, available_cores())), providers).signature


def load(config: ModelConfig, version_folder: Path, placement: Placement) -> Loaded:
    """The session of one instance, its contract checked.

    Args:
        config: The model's configuration.
        version_folder: ``<model>/<version>``.
        placement: Where the instance is to be.

    Raises:
        ModelLoadError: The artefact cannot be read, or the configuration contradicts it.
    """
    path, name = _artefact(config, version_folder)
    settings = session_settings(config, available_cores())
    providers = execution_providers(config, placement.kind, placement.device_id, onnxruntime.get_available_providers())
    session = OnnxSession(path, name, session_options(settings), providers, settings.run_entries)
    check_contract(config, session.signature)
    warnings = [*load_warnings(config), *ignored_accelerators(config, placement.kind)]
    return Loaded(session, plan(config, session.signature), warnings)


def _artefact(config: ModelConfig, version_folder: Path) -> tuple[Path, str]:
    """The file, and what messages call it."""
    path = find_artefact(version_folder, config.raw.get("default_model_filename", ""))
    return path, artefact_name(path, version_folder)


def _kind(config: ModelConfig) -> str:
    kinds = {group.get("kind") for group in config.raw.get("instance_group", [])}
    return "GPU" if "KIND_GPU" in kinds else "CPU"
