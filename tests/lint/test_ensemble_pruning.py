"""Outputs that cannot be asked for alone: which step is named, and what is told to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.pruned_ensembles import PRUNED, PrunedEnsemble, findings, write_ensembles


@pytest.mark.parametrize("one", PRUNED, ids=lambda one: one.name)
def test_what_triton_would_never_answer_is_found(one: PrunedEnsemble, tmp_path: Path) -> None:
    """Each output that fails alone is named, with the step that is skipped; the others are not."""
    write_ensembles(tmp_path)
    found = findings(tmp_path, one.name)
    assert {name for finding in found for name in one.outputs if f"{name!r} alone" in finding} == set(one.failing)


def test_the_mend_is_told(tmp_path: Path) -> None:
    """The tensor and its reader where one is the cause; where it is Triton's count of the inputs, what is left."""
    write_ensembles(tmp_path)
    (shared,) = findings(tmp_path, "chain")
    assert "step 0 (add_1_1)" in shared
    assert (
        "'t' is an output of the ensemble and read by step 1 (add_1_1): let step 0 (add_1_1) write it a second"
        in shared
    )
    (apart,) = findings(tmp_path, "parts_apart")
    assert "Let its clients ask for all outputs, or make an ensemble of each part" in apart


def test_a_large_ensemble_is_let_be(tmp_path: Path) -> None:
    """Each output is tried, so that the work grows with the square."""
    steps = "".join(
        f'step {{ model_name: "add_1_1" model_version: -1 input_map {{ key: "i0" value: "t{at}" }}'
        f' output_map {{ key: "o0" value: "t{at + 1}" }} }}\n'
        for at in range(600)
    )
    outputs = "".join(f'output {{ name: "t{at + 1}" data_type: TYPE_FP32 dims: [ 1 ] }}\n' for at in range(600))
    write_ensembles(tmp_path)
    (tmp_path / "chain" / "config.pbtxt").write_text(
        f'platform: "ensemble"\ninput {{ name: "t0" data_type: TYPE_FP32 dims: [ 1 ] }}\n{outputs}'
        f"ensemble_scheduling {{\n{steps}}}\n"
    )
    assert findings(tmp_path, "chain") == []
