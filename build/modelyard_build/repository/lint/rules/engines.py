"""MY603 and MY609 to MY613: engines against the TensorRT and the GPU that will load them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelyard_build.repository.lint.artefacts import Artefact
from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.headers import ENGINES, artefacts
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.tensorrt_lock import check_compute_capability, check_lock

_COMPUTE_CAPABILITY = re.compile(r"[0-9]+\.[0-9]")


@rule(
    "MY603",
    Severity.WARNING,
    summary="an engine that nothing tells of",
    mend="Build it with `modelyard build`, which records it in manifest.json.",
    verdict=Verdict.UNSEEN,
)
def engine_without_record(config: Config) -> Findings:
    """Only a GPU of its own kind opens an engine, so its tensors, profiles and versions must be written down.

    Without a record nobody knows before the deployment whether the engine loads there.
    """
    if config.backend in ENGINES:
        for title, artefact in artefacts(config):
            if artefact.problem:
                yield Raised(f"{title} {artefact.problem}; build it with modelyard build", artefact.path)


@rule(
    "MY609",
    Severity.ERROR,
    summary="an engine of another TensorRT or GPU",
    mend="Build the engine for the release and the GPU that will serve.",
    verdict=Verdict.UNSEEN,
)
def engine_does_not_load(config: Config) -> Findings:
    """An engine loads in the version of TensorRT, and on the kind of GPU, that it was built for.

    This is the most frequent failure of all; Triton says only that it is unable to deserialize the engine.
    """
    for title, artefact, record in _records(config):
        if reason := _lock_problem(config, record):
            yield Raised(f"{title}: {reason}", artefact.path)


@rule(
    "MY610",
    Severity.WARNING,
    summary="an engine that may not load in the release",
    mend="Build it in the release's own image, or enter the image's TensorRT in releases.json.",
    verdict=Verdict.UNSEEN,
)
def engine_may_not_load(config: Config) -> Findings:
    """What the engine was built with is known, and what the release has is not, or the other way round."""
    for title, artefact, record in _records(config):
        if not _lock_problem(config, record) and (reason := _said(record, config, None)):
            yield Raised(f"{title}: {reason}", artefact.path)


@rule(
    "MY611",
    Severity.WARNING,
    summary="a GPU that cc_model_filenames does not name gets another GPU's engine",
    mend="List every compute capability, and name a default_model_filename that no file has.",
    verdict=Verdict.UNSEEN,
)
def engine_falls_back(config: Config) -> Findings:
    """On a GPU that the map does not name, Triton takes `default_model_filename` without a word.

    Left out, that is model.plan. Where it stands it is mostly another GPU's, and does not load or is slow there. A name
    that no file has makes the load fail with a reason instead.
    """
    by_capability = config.message.cc_model_filenames
    if not by_capability or config.backend not in ENGINES:
        return
    machine = config.settings.machine
    capability = machine.compute_capability if machine else ""
    if capability in by_capability or not any(config.filename in version.entries for version in config.served):
        return
    gpu = f"compute capability {capability}, which is" if capability else "a GPU that is"
    yield config.raised(
        f"{gpu} not among {', '.join(sorted(by_capability))} gets {config.filename} without a word; list it, or write "
        'default_model_filename: "no_plan_for_this_compute_capability"',
        "cc_model_filenames",
    )


@rule(
    "MY612",
    Severity.WARNING,
    summary="a key of cc_model_filenames that no GPU has",
    mend='Write it with a point, such as "9.0".',
    verdict=Verdict.UNSEEN,
)
def capability_is_none(config: Config) -> Findings:
    """Triton looks for the GPU's compute capability as text, such as `9.0`; `90` and `sm_90` are never found."""
    for key in sorted(config.message.cc_model_filenames):
        if not _COMPUTE_CAPABILITY.fullmatch(key):
            yield config.raised(
                f"{key!r} is no compute capability, so its file is never served; write it as 9.0",
                "cc_model_filenames",
                key,
            )


@rule(
    "MY613",
    Severity.WARNING,
    summary="a file of cc_model_filenames that a served version does not have",
    mend="Build that engine into the version, or take the line away.",
    verdict=Verdict.UNSEEN,
)
def engine_file_is_missing(config: Config) -> Findings:
    """The model does not load on such a GPU; a new version often lacks the engines of the machines that build last."""
    for key, filename in sorted(config.message.cc_model_filenames.items()):
        for version in config.served:
            if filename not in version.entries:
                yield config.raised(
                    f"version {version.number} has no {filename}, which compute capability {key} needs; build it, or "
                    "take the line away",
                    "cc_model_filenames",
                    key,
                )
                break


def _records(config: Config) -> Iterator[tuple[str, Artefact, Mapping[str, Any]]]:
    if config.backend in ENGINES:
        for title, artefact in artefacts(config):
            if not artefact.problem:
                yield title, artefact, artefact.details["record"]


def _lock_problem(config: Config, record: Mapping[str, Any]) -> str:
    """Why an engine surely does not load; empty where it may."""
    machine = config.settings.machine
    capability = machine.compute_capability if machine else ""
    if _other_gpu := capability and _said_of_gpu(record, capability):
        return _other_gpu
    known = record.get("library") != "tensorrt" or config.settings.release.tensorrt is not None
    complete = bool(record.get("version") and _capabilities(record))
    return _said(record, config, None) if known and complete else ""


_NO_RECORD = "the engine's record in manifest.json is not one of modelyard build; build it again"


def _said(record: Mapping[str, Any], config: Config, capability: str | None) -> str:
    try:
        return check_lock(record, config.settings.release, capability) or ("" if _capabilities(record) else _NO_RECORD)
    except (TypeError, ValueError, AttributeError, LookupError):
        return _NO_RECORD


def _said_of_gpu(record: Mapping[str, Any], capability: str) -> str:
    built = _capabilities(record)
    level = str(record.get("hardware_compatibility", "none"))
    return check_compute_capability(str(record.get("library")), built, capability, level) if built else ""


def _capabilities(record: Mapping[str, Any]) -> list[str]:
    """Those that an engine was built for; none where the record does not tell them."""
    built = record.get("compute_capabilities")
    return built if isinstance(built, list) and all(map(_is_capability, built)) else []


def _is_capability(text: object) -> bool:
    return isinstance(text, str) and bool(_COMPUTE_CAPABILITY.fullmatch(text))
