"""MY110 to MY119: the versions of a model, which of them are served, and whether their files stand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from modelyard_build.repository.layout import DEFAULT_FILENAMES
from modelyard_build.repository.lint.files import Entry
from modelyard_build.repository.lint.rule import Findings, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.tensor_texts import did_you_mean
from modelyard_build.repository.lint.subjects import Config, Model, Version
from modelyard_build.repository.lint.version_names import is_too_large, is_version, number_read

_LIKE_A_VERSION = re.compile(
    r"(v|ver|version|rev|release)?[-_. ]*[0-9].*|latest|current|stable|prod|production", re.IGNORECASE
)


@rule(
    "MY110",
    Severity.ERROR,
    summary="a model without a version",
    mend="Publish a version: `modelyard build`, or a folder 1/ with the model's file in it.",
    verdict=Verdict.REFUSES,
)
def no_version(model: Model) -> Findings:
    """What is served stands in folders called 1, 2 and so on. An ensemble has one, too, and it is empty.

    Triton says `at least one version must be available under the version policy of model '…'`.
    """
    if model.configs and not model.versions and not model.misread:
        yield model.raised(f"{model.name!r} has no version{_instead(model)}")


@rule(
    "MY111",
    Severity.WARNING,
    summary="a folder that looks like a version and is none",
    mend="Call it by a number without leading zeros, or move it out of the model's folder.",
    verdict=Verdict.LOADS,
)
def version_is_ignored(model: Model) -> Findings:
    """Only numbers without leading zeros are versions.

    Triton's log has `ignore version directory 'v2' which fails to convert to integral number` or `… which contains
    leading zeros in its directory name`, and nobody reads it: the old version is served.
    """
    if not model.versions:
        return
    harmful = set(_misread(model))
    for entry in model.entries.values():
        if entry.is_folder and not is_version(entry.name) and entry.name not in harmful:
            number = number_read(entry.name)
            if number is not None:
                yield model.raised(_read_as(entry.name, number), entry.name)
            elif _LIKE_A_VERSION.fullmatch(entry.name):
                yield model.raised(
                    f"{entry.name!r} is not served: a version is called by a number without leading zeros", entry.name
                )


@rule(
    "MY112",
    Severity.ERROR,
    summary="a folder that Triton takes for a version that is not there",
    mend="Move the folder out of the model's folder, or call it by a number.",
    verdict=Verdict.REFUSES,
)
def version_is_misread(model: Model) -> Findings:
    """Triton reads the digits that a name begins with, and then looks for a folder of that number.

    So `2.bak` beside `1` is version 2, the newest; its file is looked for in `2/`, and the model does not load. A
    number above 9223372036854775807 ends the whole server: `terminate called after throwing an instance of
    'std::out_of_range'`.
    """
    for name in _misread(model):
        number = number_read(name) or 0
        if is_too_large(number):
            message = f"{name!r} is a number that Triton cannot hold: it ends the server; move the folder away"
        else:
            message = f"{_read_as(name, number)}, which are not there; move the folder away"
        yield model.raised(message, name)


@rule(
    "MY113",
    Severity.ERROR,
    summary="version_policy selects no version",
    mend="Name a version that stands, or take version_policy away: the newest is served then.",
    verdict=Verdict.REFUSES,
)
def policy_selects_nothing(config: Config) -> Findings:
    """Triton says `at least one version must be available under the version policy of model '…'`.

    `latest { }` without num_versions selects none, too: that is 0.
    """
    policy = config.message.version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "latest" and not policy.latest.num_versions:
        yield config.raised("num_versions is 0, so nothing is served; set it to 1", "version_policy", "latest")
    elif kind == "specific" and not policy.specific.versions:
        yield config.raised("no version is named, so nothing is served; name one", "version_policy", "specific")
    elif kind == "specific" and config.model.versions and not config.selected:
        named = ", ".join(map(str, sorted(set(policy.specific.versions))))
        yield config.raised(
            f"version_policy names {named}, and {_standing(config.model)}; name one that stands",
            *("version_policy", "specific", "versions"),
        )


@rule(
    "MY114",
    Severity.WARNING,
    summary="version_policy names a version that is not there",
    mend="Publish the version, or take its number away.",
    verdict=Verdict.LOADS,
)
def policy_names_an_absent_version(config: Config) -> Findings:
    """The others are served.

    The log says `version 3 is specified for model '…', but the version directory is not present`.
    """
    for index, number in enumerate(config.message.version_policy.specific.versions):
        if config.selected and number not in config.model.versions and number not in config.model.misread:
            yield config.raised(
                f"version {number} is not there; {_standing(config.model)}",
                *("version_policy", "specific", "versions", index),
            )


@rule(
    "MY115",
    Severity.WARNING,
    summary="version_policy leaves out the newest version",
    mend="Add the version's number, or write `version_policy { latest { num_versions: 1 } }`.",
    verdict=Verdict.LOADS,
)
def policy_leaves_the_newest_out(config: Config) -> Findings:
    """A version that was published since is not served, and a reload changes nothing."""
    newest = max(config.model.versions, default=0)
    if config.message.version_policy.HasField("specific") and config.selected and newest > config.selected[-1]:
        yield config.raised(
            f"version {newest} stands and is not served; version_policy names {config.selected[-1]} at most",
            *("version_policy", "specific", "versions"),
        )


@rule(
    "MY116",
    Severity.ERROR,
    summary="the model's file is missing in a version that is served",
    mend="Put the file there under the name that is expected, or name another in default_model_filename.",
    verdict=Verdict.REFUSES,
)
def file_is_missing(config: Config) -> Findings:
    """Each backend looks for one name in the version's folder, and the version does not load without.

    A missing model.py is worse: Triton waits for its process for ever, and every model after it waits, too.
    """
    if config.backend not in DEFAULT_FILENAMES or config.message.runtime or not config.filename:
        return
    for version in config.served:
        if problem := _problem(config, version):
            yield config.model.raised(problem, str(version.number))


@rule(
    "MY118",
    Severity.WARNING,
    summary="default_model_filename leads out of the version's folder",
    mend="Put the file directly into the version's folder, and state its name alone.",
    verdict=Verdict.LOADS,
)
def filename_is_a_path(config: Config) -> Findings:
    """A version that takes its file from elsewhere is not a version: what it serves changes when that file does.

    `model.py` in another folder is imported by another name, and a path that starts with / is read as one below the
    version's folder.
    """
    name = config.message.default_model_filename
    if ".." in name.split("/") or name.startswith("/"):
        yield config.raised(
            f"default_model_filename {name!r} leads out of the version's folder; put the file into it",
            "default_model_filename",
        )


def _misread(model: Model) -> Iterator[str]:
    """Folders that keep the model from loading: what their names begin with is taken for a version."""
    selected = {
        number
        for config in model.configs
        if config.is_valid and not config.is_ensemble  # whose folder is never looked into
        for number in config.selected
    }
    if not model.configs:
        selected = {max((*model.versions, *model.misread), default=0)}
    for number, name in model.misread.items():
        if number in selected or is_too_large(number):
            yield name


def _read_as(name: str, number: int) -> str:
    return f"{name!r} is read as version {number}, whose files are looked for in {number}/"


def _instead(model: Model) -> str:
    """The end of a sentence about a model without a version: what stands there in its place."""
    folders = [entry.name for entry in model.entries.values() if entry.is_folder]
    if like := [name for name in folders if _LIKE_A_VERSION.fullmatch(name)]:
        return f"; {like[0]!r} is none: call it 1"
    if loose := [name for name in DEFAULT_FILENAMES.values() if name in model.entries]:
        return f"; move {loose[0]} to 1/{loose[0]}"
    return "; build it, or make a folder 1/ with its file"


def _standing(model: Model) -> str:
    numbers = [str(number) for number in model.versions]
    return f"there {'is' if len(numbers) == 1 else 'are'} {', '.join(numbers[:8])}{', …' if len(numbers) > 8 else ''}"


def _problem(config: Config, version: Version) -> str:
    """Why a version's file cannot be read; empty: it stands."""
    name = config.filename
    if version.unreadable is not None:
        return (
            f"version {version.number} cannot be listed: {version.unreadable.strerror}; let the server's user read it"
        )
    entry = config.model.file(f"{version.number}/{name}") if "/" in name else version.entries.get(name)
    if entry is None or not (entry.is_file or entry.is_folder):
        return "" if _has_another(config, version.entries) else _missing(config, version)
    if not entry.is_folder:
        return ""
    if config.backend != "onnxruntime":
        return f"{version.number}/{name} is a folder, expected a file"
    if config.model.file(f"{version.number}/{name}/model.onnx").is_file:
        return ""
    return f"{version.number}/{name} is a folder, and model.onnx is not in it; put it there beside its weights"


def _has_another(config: Config, entries: Mapping[str, Entry]) -> bool:
    """Whether a machine may take another file than the default one."""
    if config.backend == "pytorch" and not config.message.default_model_filename:
        return "model.pt2" in entries
    return any(name in entries for name in config.message.cc_model_filenames.values())


def _missing(config: Config, version: Version) -> str:
    name, files = config.filename, [entry.name for entry in version.entries.values() if entry.is_file]
    alike = [file for file in files if file.endswith(f".{name.rpartition('.')[2]}")]
    if alike:
        hint = f"; call {alike[0]} so, or name it in default_model_filename"
    elif config.model.file(name).is_file:
        hint = f"; it stands one folder above: move it to {version.number}/{name}"
    else:
        holds = f"; the folder holds {', '.join(files[:4])}" if files else "; the folder is empty"
        hint = did_you_mean(name, files) or holds
    return f"version {version.number} has no {name}, which the {config.backend} backend reads{hint}"
