"""How findings are written: a format is one file here, with a function `written`, and one line in the table."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

from modelyard_ops.errors import CannotRun
from modelyard_ops.linting.report import Report

FORMATS = {"text": "text", "json": "json_document", "sarif": "sarif", "github": "github"}


def written(report: Report, name: str, *, colour: bool = False) -> str:
    """A report in one of the formats, each line ended; colours are for the text alone."""
    text: str = import_module(f"{__name__}.{FORMATS[name]}").written(report, colour=colour)
    return text


def wants_colour() -> bool:
    """Whether stdout is a terminal whose user wants colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def emit(text: str, output: Path | None = None, *, to_stderr: bool = False) -> None:
    """Writes a text to a file, or else to stdout or stderr; whoever stopped reading is no error.

    Raises:
        CannotRun: the file cannot be written.
    """
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CannotRun(f"--output {output} cannot be written: {error.strerror}.") from None
        return
    stream = sys.stderr if to_stderr else sys.stdout
    try:
        # A terminal that is not of UTF-8 gets escapes in place of what it lacks.
        stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
        stream.flush()
    except BrokenPipeError:
        # What is still buffered must not raise again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
