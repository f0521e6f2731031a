"""MY10x, MY125 to MY129: the folder of a model, its config, and whether Triton can read it at all."""

from __future__ import annotations

import difflib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import quote

from modelyard_build.repository.layout import CONFIGS, DEFAULT_FILENAMES, FILENAME
from modelyard_build.repository.lint.files import Entry
from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.server_arguments import option
from modelyard_build.repository.lint.subjects import Config, Model, Repositories, Repository

FIELDS = Path(__file__).parents[1] / "field_releases.json"
_ARTEFACTS = (".onnx", ".plan", ".engine", ".trt", ".pt", ".pt2", ".pth", ".savedmodel", ".graphdef", ".pbtxt")
_LABEL = re.compile(r"(?!__)[A-Za-z0-9_]*")
_TEXT_FORMATS = (".pbtxt", ".prototxt", ".textproto", ".pbtxt.txt")


@rule(
    "MY101",
    Severity.ERROR,
    summary="config.pbtxt is not a config",
    mend="Correct the line that is named; every field and value that Triton knows is in the proposal.",
    verdict=Verdict.REFUSES,
)
def unparsable(config: Config) -> Findings:
    """Triton reads the file with protobuf's text format.

    One misspelt word and the model does not load; the client sees "failed to poll from model repository",
    and only the server's log has the line:
    `Error parsing text-format inference.ModelConfig: 3:1: Message type "inference.ModelConfig" has no field named "…"`.
    A folder of that name ends the whole server, and a pipe makes it wait for ever.
    """
    if config.unreadable:
        yield Raised(f"{config.path.name} {config.unreadable}", config.path)
        return
    for problem in config.bound.problems:
        yield Raised(problem.message, config.path, problem.start, problem.end)


@rule(
    "MY102",
    Severity.ERROR,
    summary="name is not the folder's",
    mend="Leave `name` out: Triton takes the folder's.",
    verdict=Verdict.REFUSES,
)
def name_is_not_the_folder(config: Config) -> Findings:
    """Triton refuses a model whose config has another name than its folder. A copied folder is the usual reason."""
    name = config.message.name
    if name and name != config.model.name:
        yield config.raised(f"name is {name!r}, the folder is {config.model.name!r}; leave name out", "name")


@rule(
    "MY103",
    Severity.ERROR,
    summary="a field that the target release does not know",
    mend="Take the field away, or serve a release that has it.",
    verdict=Verdict.REFUSES,
)
def field_is_too_new(config: Config) -> Findings:
    """An older Triton does not skip a field that it does not know: it refuses the whole config.

    `Message type "inference.ModelEnsembling" has no field named "max_inflight_requests"` is in its log.
    """
    for path, (triton, release) in _fields().items():
        if config.states(*path) and _numbers(config.settings.release.triton) < _numbers(triton):
            yield config.raised(
                f"{path[-1]} is known from Triton {triton} ({release}) on, the target is "
                f"{config.settings.release.triton} ({config.settings.release.name}); take it away, or serve {release}",
                *path,
            )


@rule(
    "MY104",
    Severity.ERROR,
    summary="a folder of the repository that is no model",
    mend="Move it out of the repository, or give it a config.pbtxt and a version.",
    verdict=Verdict.REFUSES,
)
def no_model(model: Model) -> Findings:
    """Triton takes every folder of a repository for a model, also `.git` and `docs`.

    It says `Could not determine backend for model 'docs' with no backend in model configuration`, and unless it was
    started with `--exit-on-error=false` it ends: `creating server: Internal - failed to load all models`.
    """
    if model.unreadable is not None:
        yield model.raised(
            f"{model.name!r} cannot be listed: {model.unreadable.strerror}; let the server's user read it and enter it"
        )
    elif not model.configs and not model.backend_of_files and not _names_a_backend(model):
        yield model.raised(f"{model.name!r} is no model: {_what_is_missing(model)}")


@rule(
    "MY105",
    Severity.WARNING,
    summary="a model without config.pbtxt",
    mend="Write a config.pbtxt; `backend` and `max_batch_size` are enough to begin with.",
    verdict=Verdict.LOADS,
)
def no_config(model: Model) -> Findings:
    """Triton guesses: the backend by the file's name, inputs and outputs by the artefact, batches of at most 4.

    It loads, and nobody has decided how many instances there are, how requests are batched, or how long they wait.
    """
    if model.backend_of_files and not model.configs and not _misnamed(model):
        yield model.raised(
            f"there is no {FILENAME}, so Triton guesses all settings of a {model.backend_of_files} model; write one"
        )


@rule(
    "MY106",
    Severity.WARNING,
    summary="a config that has another name than config.pbtxt",
    mend="Call it config.pbtxt.",
    verdict=Verdict.LOADS,
)
def config_is_misnamed(model: Model) -> Findings:
    """Triton reads `config.pbtxt` alone. It guesses the settings of a model that has none, and says nothing."""
    if model.backend_of_files and not model.configs and (name := _misnamed(model)):
        yield model.raised(f"{name!r} is not read; call it {FILENAME}", name)


@rule(
    "MY107",
    Severity.WARNING,
    summary="a config.pbtxt inside a version's folder",
    mend="Move what it says into the model's own config.pbtxt.",
    verdict=Verdict.LOADS,
)
def config_in_a_version(model: Model) -> Findings:
    """One config counts for all versions of a model: the one beside their folders. Triton does not look at others."""
    for version in model.versions.values():
        if FILENAME in version.entries:
            yield model.raised(
                f"{version.number}/{FILENAME} is not read; only {model.name}/{FILENAME} counts, for all versions",
                str(version.number),
                FILENAME,
            )


@rule(
    "MY108",
    Severity.WARNING,
    summary="configs/ without a config.pbtxt to fall back on",
    mend="Write a config.pbtxt that serves on any machine.",
    verdict=Verdict.LOADS,
)
def configs_without_config(model: Model) -> Findings:
    """`--model-config-name=l4` reads `configs/l4.pbtxt`, and where that is missing `config.pbtxt`.

    A server that was started without the name, or with another, finds neither: it guesses the settings, or refuses the
    model.
    """
    if FILENAME not in model.entries and model.configs:
        names = ", ".join(config.path.stem for config in model.configs)
        yield model.raised(
            f"there is no {FILENAME}: only a server that is started with --model-config-name of {names} has a config",
            CONFIGS,
        )


@rule(
    "MY109",
    Severity.WARNING,
    summary="a file in configs/ that no server reads",
    mend="Call it NAME.pbtxt, directly in configs/.",
    verdict=Verdict.LOADS,
)
def unread_in_configs(model: Model) -> Findings:
    """`--model-config-name=NAME` reads `configs/NAME.pbtxt`, and quietly takes config.pbtxt where that is missing."""
    for entry in model.named_configs.values():
        if not entry.name.startswith(".") and not entry.name.endswith((".pbtxt", ".md")):
            yield model.raised(
                f"{entry.name!r} is read by no server; only {CONFIGS}/NAME.pbtxt is", CONFIGS, entry.name
            )


@rule(
    "MY117",
    Severity.WARNING,
    summary="a string that is not UTF-8",
    mend="Save the file as UTF-8, and write the character itself.",
    verdict=Verdict.LOADS,
)
def string_is_not_utf8(config: Config) -> Findings:
    r"""Triton loads the model and reads the string as an empty one, without a word.

    A value that an editor saved in Latin-1, or an escape such as `\377`, is the usual reason. A parameter of a backend
    is then as if nobody had set it.
    """
    for lost in config.bound.lost:
        yield Raised(lost.message, config.path, lost.start, lost.end)


@rule(
    "MY125",
    Severity.WARNING,
    summary="a file in the repository itself that looks like a model's",
    mend="Move an artefact to MODEL/1/, a config to MODEL/; name a model's parent as repository.",
    verdict=Verdict.LOADS,
)
def file_beside_the_models(repository: Repository) -> Findings:
    """A repository holds folders of models. Triton does not look at files beside them, and does not mention them."""
    for entry in repository.entries.values():
        if entry.is_file and entry.name.endswith(_ARTEFACTS):
            yield Raised(f"{entry.name!r} is not served: {_proper_place(entry.name)}", repository.path / entry.name)


@rule(
    "MY126",
    Severity.ERROR,
    summary="a link in the repository that leads nowhere",
    mend="Take the link away, or mend where it leads.",
    verdict=Verdict.UNSEEN,
)
def link_in_the_repository_dangles(repository: Repository) -> Findings:
    """Not one model of the repository is served then.

    Triton says `failed to poll model repository '…': failed to stat file …`.
    """
    for entry in _dangling(repository.entries):
        yield Raised(
            f"{entry.name!r} is a link that leads nowhere, so no model of the repository is served; take it away",
            repository.path / entry.name,
        )


@rule(
    "MY127",
    Severity.ERROR,
    summary="a link in a model's folder that leads nowhere",
    mend="Take the link away, or mend where it leads.",
    verdict=Verdict.REFUSES,
)
def link_in_a_model_dangles(model: Model) -> Findings:
    """Triton looks at everything that stands directly in the folder, whatever it is called.

    It says `Poll failed for model directory '…': failed to stat file …`.
    """
    for entry in _dangling(model.entries):
        if not (entry.name == FILENAME and model.config):
            yield model.raised(
                f"{entry.name!r} is a link that leads nowhere, so the model is refused; take it away", entry.name
            )


@rule(
    "MY128",
    Severity.WARNING,
    summary="a model's name that HTTP clients cannot ask for",
    mend="Rename the folder: letters, digits, and - _ . ~ alone.",
    verdict=Verdict.UNSEEN,
)
def name_is_not_for_urls(model: Model) -> Findings:
    """Clients write other characters as %20 and the like, and Triton does not read them back.

    `failed to poll model 'a%20b': model not found in any model repository.` Over gRPC the model is reached.
    """
    safe = _in_a_url(model.name)
    if safe != model.name:
        yield model.raised(
            f"the name {model.name!r} becomes {safe!r} in a URL, which Triton does not find; rename the folder"
        )


@rule(
    "MY129",
    Severity.ERROR,
    summary="two repositories have a model of the same name",
    mend="Rename one, take it away, or give the two repositories to two servers.",
    verdict=Verdict.UNSEEN,
)
def name_is_taken(repositories: Repositories) -> Findings:
    """Triton serves neither of the two, unless it was started with `--model-namespacing`.

    It says `failed to poll model '…': not unique across all model repositories`.
    """
    if option(repositories.settings.server_arguments or (), "model-namespacing") not in (None, "false", "0"):
        return
    named: defaultdict[str, list[Model]] = defaultdict(list)
    for repository in repositories.repositories:
        for model in repository.models.values():
            named[model.name].append(model)
    for models in named.values():
        for model, other in zip(models[1:], models, strict=False):
            yield model.raised(
                f"{model.name!r} stands in {other.repository.path}, too, so Triton serves neither; rename one"
            )


@rule(
    "MY142",
    Severity.ERROR,
    summary="a metric tag whose key ends the server",
    mend="Write a key of letters, digits and _ that does not begin with __.",
    verdict=Verdict.UNSEEN,
)
def metric_tag_is_refused(config: Config) -> Findings:
    """A tag is a label of every metric of the model, and its key is held to Prometheus's rules while the model loads.

    Nobody catches the error: the whole server ends with `terminate called after throwing an instance of
    'std::invalid_argument' what(): Invalid label name`.
    """
    if option(config.settings.server_arguments or (), "allow-metrics") in ("false", "0"):
        return
    for key in config.message.metric_tags:
        if not _LABEL.fullmatch(key):
            yield config.raised(
                f"metric tag {key!r} ends the server; write letters, digits and _ alone, without __ at the beginning",
                *("metric_tags", key),
            )


def _what_is_missing(model: Model) -> str:
    """Of a folder that is no model, and the next step."""
    if name := _misnamed(model):
        return f"{name!r} is not read; call it {FILENAME}"
    loose = [name for name in DEFAULT_FILENAMES.values() if name in model.entries]
    if loose:
        return f"{loose[0]} stands beside the versions; move it to 1/{loose[0]} and write a {FILENAME}"
    if not model.entries:
        return "it is empty; take it away, or publish a version into it"
    return f"it has no {FILENAME}, and no file that tells a backend; move it out of the repository"


def _names_a_backend(model: Model) -> bool:
    """Whether the folder is called NAME.BACKEND, which counts where nothing else tells."""
    return "." in model.name and bool(model.versions)


def _misnamed(model: Model) -> str:
    """A file that was meant to be config.pbtxt; empty: there is none."""
    files = [entry.name for entry in model.entries.values() if entry.is_file and entry.name != FILENAME]
    alike = difflib.get_close_matches(FILENAME, [name.lower() for name in files], 1, 0.85)
    return next((name for name in files if name.lower() in alike or name.endswith(_TEXT_FORMATS)), "")


def _proper_place(name: str) -> str:
    if name == FILENAME:
        return "this folder is a model's; the repository is the folder that it stands in"
    if name.endswith(".pbtxt"):
        return f"a config is called {FILENAME} and stands in its model's folder"
    return "it belongs in MODEL/1/, under the name that its backend expects"


def _dangling(entries: dict[str, Entry]) -> Iterator[Entry]:
    return (entry for entry in entries.values() if entry.is_dangling)


def _in_a_url(name: str) -> str:
    return quote(name.encode("utf-8", "surrogateescape"), safe="")


@cache
def _fields() -> dict[tuple[str, ...], tuple[str, str]]:
    """Triton's version and release that first had a field, by its path."""
    table = json.loads(FIELDS.read_text(encoding="utf-8"))["fields"]
    return {tuple(name.split(".")): (since["triton"], since["release"]) for name, since in table.items()}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
