"""MY601, MY602 and MY614: what lies in a version's folder, whatever serves it."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard_build.repository.lint.artefacts import Artefact
from modelyard_build.repository.lint.artefacts.artefact import NOT_A_FILE
from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.headers import ENGINES, artefacts
from modelyard_build.repository.lint.subjects import Config, Model, Version


@rule(
    "MY601",
    Severity.ERROR,
    summary="an artefact is cut off or is none",
    mend="Copy it again, or build the version again.",
    verdict=Verdict.REFUSES,
)
def artefact_is_broken(config: Config) -> Findings:
    """A copy that was interrupted, a page of HTML in place of a download, a Git LFS pointer.

    ONNX Runtime says `INVALID_PROTOBUF : Load model from … failed:Protobuf parsing failed`, libtorch
    `PytorchStreamReader failed reading zip archive`.
    """
    for title, artefact in artefacts(config):
        if artefact.broken:
            yield Raised(f"{title} {artefact.problem}; copy it again, or build the version again", artefact.path)


@rule(
    "MY602",
    Severity.WARNING,
    summary="an artefact could not be checked",
    mend="Nothing where it is meant to be so; otherwise write it as the message says.",
    verdict=Verdict.LOADS,
)
def artefact_is_not_checked(config: Config) -> Findings:
    """The artefact's tensors were not held against the config, because its file could not be read here."""
    if config.backend in ENGINES:
        return
    for title, artefact in artefacts(config):
        if artefact.problem and not artefact.broken and _is_known(config, artefact):
            yield Raised(f"{title} {artefact.problem}, so its tensors are not checked", artefact.path)


@rule(
    "MY614",
    Severity.WARNING,
    summary="a version is not what its manifest lists",
    mend="Copy the version's folder again as a whole, or build the version again.",
    verdict=Verdict.LOADS,
)
def version_is_incomplete(model: Model) -> Findings:
    """manifest.json lists every file that was published, with its size.

    A folder that was copied in part, or a file that was changed in place, serves something that was never verified.
    """
    for version in model.versions.values():
        for name, expected in _listed(version):
            if problem := _damage(version, name, expected):
                yield Raised(
                    f"{version.number}/{name} {problem} (manifest.json); copy the version again, or build it again",
                    version.folder / name,
                )


def _is_known(config: Config, artefact: Artefact) -> bool:
    """Whether a problem is worth a word: not where a backend has formats that are not read here."""
    if artefact.problem == NOT_A_FILE or (
        config.backend == "openvino" and artefact.path.suffix not in (".xml", ".onnx")
    ):
        return False
    return config.backend in ("onnxruntime", "openvino", "pytorch", "python")


def _listed(version: Version) -> Iterator[tuple[str, int]]:
    """The files of a version by its manifest, with their sizes; of those in folders the folder is looked at."""
    files = version.manifest.get("files") if "manifest.json" in version.entries else None
    for name, record in sorted(files.items()) if isinstance(files, dict) else ():
        size = record.get("bytes") if isinstance(record, dict) else None
        if isinstance(name, str) and type(size) is int:
            yield name, size


def _damage(version: Version, name: str, expected: int) -> str:
    top, _, below = name.partition("/")
    entry = version.entries.get(top)
    if entry is None:
        return "is gone"
    if not below and entry.is_file and entry.size != expected:
        return f"has {entry.size} bytes, expected {expected}"
    return ""
