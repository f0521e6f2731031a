"""Triton's log: one record a line, and why a model did not load.

Triton writes `<time> <severity> <pid> <file>:<line>] "<message>"` under `--log-format=ISO8601`, the message quoted and
escaped like a JSON string. Around these lines stand tables, what models print, and lines of the Python processes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

RECORD = re.compile(r"^(?P<time>\S+Z) (?P<level>[EWIF]) \d+ (?P<source>[\w.]+:\d+)\] ?(?P<message>.*)$")
STUB_RECORD = re.compile(r"^[EWIF]\d{4} (?P<time>[\d:]+)\.\d+ \d+ (?P<source>pb_stub\.cc:\d+)\] +(?P<message>.*)$")

LOADING = re.compile(r"^loading: (?P<model>.+):\d+$")
LOADED = re.compile(r"^successfully loaded '(?P<model>[^']+)'")
FAILURES = (
    re.compile(r"^Poll failed for model directory '(?P<model>[^']+)': (?P<reason>.*)", re.DOTALL),
    re.compile(r"^failed to load model '(?P<model>[^']+)': (?P<reason>.*)", re.DOTALL),
    re.compile(r"^failed to load '(?P<model>[^']+)' version \d+: (?P<reason>.*)", re.DOTALL),
    re.compile(r"ensemble (?P<model>\S+) (?P<reason>contains models that are not available or ambiguous: .*)"),
    # What Triton 2.51 prints after the step's name is memory it has freed already.
    re.compile(r"ensemble '(?P<model>[^']+)' (?P<reason>depends on '[^']+' which has no loaded version)"),
    re.compile(r"^failed to poll model '(?P<model>[^']+)': (?P<reason>.*)", re.DOTALL),
)
CONFIG_ERROR = re.compile(r"Error parsing text-format inference\.ModelConfig: (?P<reason>.*)")
STUB_FAILURE = re.compile(r"(?:Failed to preinitialize Python stub|error while loading shared libraries): .*")
PYTHON_LOCATION = re.compile(r"\s*At:\s+(?P<place>\S+\(\d+\): \S+).*", re.DOTALL)
STATUS_CODE = re.compile(r"^(?:Internal|Invalid argument|Unavailable|Not found|Unsupported): ")
LISTENING = "Started HTTPService at "
ENDED = "modelyard: tritonserver ended by itself"
HARMLESS = ("CudaDriverHelper has not been initialized", "failed to load all models")
"""Errors of every machine without a GPU, and one that repeats what stands above it."""


@dataclass(frozen=True)
class Record:
    """One line of the log.

    Attributes:
        level: E, W, I or F for Triton's own lines; empty for whatever else came.
        time: as written; empty for whatever else came.
    """

    level: str
    time: str
    source: str
    message: str


def read_log(path: Path, offset: int = 0) -> str:
    """The log from a byte offset on; empty where there is none. What is not UTF-8 is replaced."""
    try:
        with path.open("rb") as handle:
            handle.seek(offset)
            return handle.read().decode(errors="replace")
    except OSError:
        return ""


def parse_line(line: str) -> Record:
    """One line, taken apart; a line that is no record of Triton's is all message."""
    found = RECORD.match(line)
    if found:
        return Record(found["level"], found["time"], found["source"], _unquoted(found["message"]))
    found = STUB_RECORD.match(line)
    if found:
        return Record("I", found["time"], found["source"], found["message"])
    return Record("", "", "", line)


def load_failures(text: str) -> dict[str, str]:
    """Why each model that did not load did not, by the last attempt that the log tells of."""
    failures: dict[str, str] = {}
    config_error = ""
    for line in text.splitlines():
        message = parse_line(line).message
        if found := CONFIG_ERROR.search(message):
            config_error = found["reason"]
        elif found := LOADED.match(message):
            failures.pop(found["model"], None)
        elif found := _first_match(message):
            failures[found["model"]] = f"{one_line(found['reason'])}{f': {config_error}' if config_error else ''}"
            config_error = ""
    return failures


def still_loading(text: str) -> list[str]:
    """The models whose load has begun and not ended, by name."""
    loading: set[str] = set()
    for message in (parse_line(line).message for line in text.splitlines()):
        if found := LOADING.match(message):
            loading.add(found["model"])
        elif found := LOADED.match(message) or _first_match(message):
            loading.discard(found["model"])
    return sorted(loading)


def stub_failure(text: str) -> str:
    """The last thing that a Python process of a model said before it ended, where that was a complaint."""
    found = STUB_FAILURE.findall(text)
    return one_line(found[-1]) if found else ""


def last_errors(text: str, count: int = 3) -> str:
    """What the log complains of at its end, in one line; its last line where it complains of nothing.

    Of a server that listened already, what it said while it started is left out.
    """
    records = [parse_line(line) for line in text.rpartition(LISTENING)[2].splitlines() if line.strip()]
    errors = [record.message for record in records if _is_complaint(record)]
    chosen = errors[-count:] or [record.message for record in records[-1:]]
    return "; ".join(one_line(message) for message in chosen)


def ended_by_itself(text: str) -> bool:
    """Whether the log is that of a server which nobody told to stop."""
    return ENDED in text


def one_line(reason: str) -> str:
    """A reason as one line: the status code goes, a Python traceback shrinks to its innermost place."""
    text = STATUS_CODE.sub("", reason.strip())
    text = PYTHON_LOCATION.sub(lambda found: f" (at {found['place']})", text)
    return " ".join(text.split())


def _first_match(message: str) -> re.Match[str] | None:
    return next((found for pattern in FAILURES if (found := pattern.search(message))), None)


def _is_complaint(record: Record) -> bool:
    if any(text in record.message for text in HARMLESS):
        return False
    told_by_others = ("error while loading shared libraries", "terminate called", "No space left")
    return (
        record.level in ("E", "F")
        or record.message.startswith(("error:", "modelyard:"))
        or any(text in record.message for text in told_by_others)
    )


def _unquoted(message: str) -> str:
    if not message.startswith('"'):
        return message
    try:
        return str(json.loads(message))
    except ValueError:
        return message.strip('"')
