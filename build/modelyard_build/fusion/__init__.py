"""Which fusions a runtime really did, against what the graph offers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def report(target: str, path: Path, graph: Path, properties: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Loads an artefact as its backend does and looks at what is executed.

    Args:
        target: "onnxruntime" or "openvino".
        path: the artefact.
        graph: the ONNX graph it was written from; the same file where that is the artefact.
        properties: what the artefact is compiled with, for OpenVINO.

    Returns:
        For the manifest: `expected` and `done`, the count of each pattern; `missing`, in words; and what is executed:
        `operators` (ONNX Runtime's fused ones) or `layers` (OpenVINO's, with their precision).

    Raises:
        ArtefactFailed: the runtime does not load the artefact.
    """
    import onnx_ir as ir

    from modelyard_build.fusion import patterns

    model = ir.load(graph)
    expected = patterns.found(model)
    if target == "openvino":
        from modelyard_build.fusion import of_openvino

        expected = {name: members for name, members in expected.items() if name not in of_openvino.NOT_FUSED}
        executed = of_openvino.layers(path, properties or {})
        return _described(
            expected, of_openvino.done(executed, expected, model), {"layers": of_openvino.summary(executed)}
        )
    from modelyard_build.fusion import of_onnxruntime

    done, operators = of_onnxruntime.done(path, expected)
    return _described(expected, done, {"operators": operators}, of_onnxruntime.REASONS)


def _described(
    expected: Mapping[str, list[tuple[str, ...]]],
    done: Mapping[str, int],
    executed: dict[str, Any],
    reasons: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    counts = {name: len(members) for name, members in expected.items()}
    missing = [
        f"{name}: {done[name]} of {count}" + (f"; {reasons[name]}" if reasons and name in reasons else "")
        for name, count in counts.items()
        if done[name] < count
    ]
    return {"expected": counts, "done": dict(done), "missing": missing, **executed}
