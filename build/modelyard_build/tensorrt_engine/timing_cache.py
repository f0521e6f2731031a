"""What TensorRT measured of kernels, kept between builds: a second build of the same layers takes a fraction.

A cache belongs to one version of the library and one kind of GPU. The file begins with a SHA-256 of the rest, because
TensorRT itself takes damaged bytes without an error. (TensorRT-RTX measures nothing ahead of time: its cache is small
and speeds up nothing.)
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from modelyard_build.atomic import replacing

_DIGEST_BYTES = 32


def cache_path(folder: Path, library: str, version: str, device: str) -> Path:
    """The file for a library's version and a device, such as "NVIDIA H100 80GB HBM3, 9.0" or "cpu"."""
    return folder / (re.sub(r"[^A-Za-z0-9.]+", "-", f"{library}-{version}-{device}") + ".timing")


def read(path: Path) -> tuple[bytes, str]:
    """The cache's bytes, empty where there are none, and what is wrong with the file, for people."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b"", ""
    except OSError as error:
        return b"", f"the timing cache {path} cannot be read ({error.strerror}): it is made again"
    digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        return b"", f"the timing cache {path} is damaged: it is ignored and made again"
    return data, ""


def write(path: Path, data: bytes) -> None:
    """Replaces the cache in one step."""
    with replacing(path) as partial:
        partial.write_bytes(hashlib.sha256(data).digest() + data)


def attach(config: Any, path: Path) -> str:
    """Gives a builder's config the cache of earlier builds, or an empty one.

    Returns:
        What is wrong with the earlier one, for people; empty when nothing is.
    """
    data, problem = read(path)
    cache = config.create_timing_cache(data)
    if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
        return problem
    config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return f"the timing cache {path} is of another library or GPU: it is ignored and made again"


def keep(config: Any, path: Path) -> str:
    """Keeps what a build has measured; what is wrong where that fails, for people: the engine is good without it."""
    cache = config.get_timing_cache()
    if cache is None:
        return ""
    try:
        write(path, bytes(cache.serialize()))
    except OSError as error:
        return f"the timing cache {path} cannot be written: {error.strerror}"
    return ""
