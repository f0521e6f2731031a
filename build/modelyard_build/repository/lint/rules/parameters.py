"""MY404, MY405, MY420 and MY421: what a backend reads of `parameters`, and keys of maps."""

from __future__ import annotations

from collections import Counter

from modelyard_build.repository.lint.backend_parameters import Described, close, described, expected
from modelyard_build.repository.lint.instance_groups import GPU, devices
from modelyard_build.repository.lint.rule import Findings, Raised, Severity, Verdict, rule
from modelyard_build.repository.lint.rules.values import parameter, quoted
from modelyard_build.repository.lint.subjects import Config
from modelyard_build.repository.text_format.syntax import Field, Listing, Message, Scalar

_ENVIRONMENT = "EXECUTION_ENV_PATH"
_MODEL_FOLDER = "$$TRITON_MODEL_DIRECTORY/"


def _table(config: Config) -> Described | None:
    """What the table knows of the implementation that serves a model; None: nothing."""
    if config.message.runtime:
        return None
    return described("torch_aoti" if config.message.platform == "torch_aoti" else config.backend)


@rule(
    "MY404",
    Severity.ERROR,
    summary="a parameter's value that the backend refuses",
    mend="Give the parameter a value of the kind that is named.",
    verdict=Verdict.REFUSES,
)
def parameter_value_is_refused(config: Config) -> Findings:
    """The backend refuses the model, for instance `parameter 'execution_mode' is 2, expected 0 … or 1 …` here.

    NVIDIA's container says `Invalid configuration value provided. Expected values for execution_mode are 0 or 1 …`,
    and the Python backend `Incorrect value for FORCE_CPU_ONLY_INPUT_TENSORS: …`. Every value is a string:
    `parameters { key: "…" value { string_value: "1" } }`.
    """
    table = _table(config)
    if table is None:
        return
    on_gpu = GPU in devices(config)
    for key, value in config.message.parameters.items():
        known = table["parameters"].get(key)
        if known is None or (known.get("device") == "GPU" and not on_gpu):
            continue
        if wanted := expected(known, value.string_value):
            yield config.raised(
                f"{key} is {quoted(value.string_value)}, and the {config.backend} backend expects {wanted}",
                "parameters",
                key,
            )


@rule(
    "MY405",
    Severity.WARNING,
    summary="a parameter that the backend does not read",
    mend="Correct the name, or take the parameter away.",
    verdict=Verdict.LOADS,
)
def unknown_parameter(config: Config) -> Findings:
    """Triton loads it silently, and the setting has no effect: a backend looks its own keys up and sees no others.

    Names differ from backend to backend, in case too. Python models may read any key.
    """
    table = _table(config)
    if table is None or table.get("others"):
        return
    known = table["parameters"]
    for key in config.message.parameters:
        if key in known:
            continue
        renamed = table.get("renamed", {}).get(key)
        near = f" It is called {renamed} now." if renamed else close(key, known)
        yield config.raised(
            f"the {config.backend} backend reads no parameter {quoted(key)}.{near or ' It reads ' + ', '.join(known)}",
            "parameters",
            key,
        )


@rule(
    "MY420",
    Severity.ERROR,
    summary="a Python environment that is not there",
    mend="Pack the environment into the model's folder, or correct EXECUTION_ENV_PATH.",
    verdict=Verdict.REFUSES,
)
def environment_is_missing(config: Config) -> Findings:
    """The Python backend refuses the model: `Failed to get the canonical path for …`.

    Only a path in the model's own folder is looked at, `$$TRITON_MODEL_DIRECTORY/…`: others are the server's.
    """
    path = parameter(config, _ENVIRONMENT)
    first = path.removeprefix(_MODEL_FOLDER).strip("/").partition("/")[0]
    if config.backend != "python" or not path.startswith(_MODEL_FOLDER) or first in ("", ".", ".."):
        return
    if not config.model.unreadable and first not in config.model.entries:
        yield config.raised(
            f"{_ENVIRONMENT} names {quoted(first)}, which is not in the model's folder; put it there, or mend the path",
            "parameters",
            _ENVIRONMENT,
        )


_MAPS = ("parameters", "cc_model_filenames", "metric_tags")


@rule(
    "MY421",
    Severity.WARNING,
    summary="a key that is stated twice",
    mend="Take the entry away that is not meant.",
    verdict=Verdict.LOADS,
)
def key_stated_twice(config: Config) -> Findings:
    """Triton loads it silently, and the last entry wins: a setting that was added below may undo this one."""
    found: list[tuple[str, str, Message]] = []
    for field in config.document.fields:
        if field.name in _MAPS:
            found += [(field.name, _key_of(entry), entry) for entry in _entries(field)]
    times = Counter((name, key) for name, key, _ in found)
    for name, key, entry in found:
        times[name, key] -= 1
        if times[name, key] > 0:
            yield Raised(
                f"{name} has the key {quoted(key)} again below, which wins; take one of them away",
                config.path,
                entry.start,
                entry.end,
            )


def _entries(field: Field) -> list[Message]:
    values = field.value.items if isinstance(field.value, Listing) else [field.value]
    return [value for value in values if isinstance(value, Message)]


def _key_of(entry: Message) -> str:
    scalars = [part.value for part in entry.fields if part.name == "key" and isinstance(part.value, Scalar)]
    return "".join(piece[1:-1] for piece in scalars[0].pieces) if scalars else ""
