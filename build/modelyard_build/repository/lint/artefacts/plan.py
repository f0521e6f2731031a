"""A TensorRT or TensorRT-RTX engine: only a GPU can open one, so what is known of it is what its builder wrote down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelyard_build.repository.lint.artefacts.artefact import NOT_A_FILE, Artefact, TensorInfo

# The manifest's names of dtypes are Triton's without TYPE_; these two of TensorRT Triton does not have.
_NOT_TRITONS = ("FP8", "INT4")
Shape = tuple[int, ...]


def read_plan(path: Path, manifest: Mapping[str, Any]) -> Artefact:
    """Reads the record of an engine in the version's manifest; nothing of the file itself."""
    if not path.is_file():
        return Artefact(path, problem=NOT_A_FILE)
    record = engine_record(path.name, manifest)
    if record is None:
        why = "manifest.json does not tell of it" if manifest else "there is no manifest.json beside it"
        return Artefact(path, problem=f"cannot be checked: an engine is opaque without a GPU, and {why}")
    bindings = [binding for binding in _list(record.get("bindings")) if isinstance(binding, Mapping)]
    return Artefact(
        path,
        inputs=tuple(_tensors(bindings, "input")) or None,
        outputs=tuple(_tensors(bindings, "output")) or None,
        details={"record": record, "profiles": tuple(_profiles(record))},
    )


def engine_record(filename: str, manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the builder recorded of an engine; None where nothing tells of it."""
    candidates = manifest.get("candidates")
    for candidate in candidates.values() if isinstance(candidates, Mapping) else ():
        if isinstance(candidate, Mapping) and filename in _list(candidate.get("files")):
            record = candidate.get("artefact")
            return record if isinstance(record, Mapping) and record.get("library") else None
    return None


def _tensors(bindings: list[Mapping[str, Any]], mode: str) -> Iterator[TensorInfo]:
    for binding in bindings:
        if binding.get("mode") == mode:
            dtype = str(binding.get("dtype", ""))
            known = "" if not dtype or dtype in _NOT_TRITONS else f"TYPE_{dtype}"
            yield TensorInfo(str(binding.get("name", "")), known, _shape(binding.get("dims")))


def _profiles(record: Mapping[str, Any]) -> Iterator[dict[str, tuple[Shape, Shape]]]:
    """The least and the largest shape of each input, one mapping a profile."""
    for profile in _list(record.get("profiles")):
        if isinstance(profile, Mapping):
            bounds = {str(name): _bounds(sizes) for name, sizes in profile.items()}
            yield {name: found for name, found in bounds.items() if found}


def _bounds(sizes: Any) -> tuple[Shape, Shape] | None:
    if not isinstance(sizes, Mapping):
        return None
    least, most = _shape(sizes.get("min")), _shape(sizes.get("max"))
    return (least, most) if least is not None and most is not None else None


def _shape(value: Any) -> Shape | None:
    if not isinstance(value, list) or not all(type(size) is int for size in value):
        return None
    return tuple(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
