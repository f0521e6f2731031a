"""config.pbtxt: written where none stands, read and held against the artefact where one does.

The file belongs to the people who operate the model. What is here never changes a file that exists; `agreement` says
what a rebuild changes in one.
"""

from __future__ import annotations

from modelyard_build.repository.config.checking import check
from modelyard_build.repository.config.reading import (
    backend_of,
    bytes_of,
    decoded,
    filename,
    paths,
    read,
    says,
    stated_in,
    text_of,
)
from modelyard_build.repository.config.rendering import PORTABLE, Serving, data_type, render

__all__ = [
    "PORTABLE",
    "Serving",
    "backend_of",
    "bytes_of",
    "check",
    "data_type",
    "decoded",
    "filename",
    "paths",
    "read",
    "render",
    "says",
    "stated_in",
    "text_of",
]
