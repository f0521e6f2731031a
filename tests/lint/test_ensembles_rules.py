"""Ensembles: what the examples of the rules do not show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.run import Finding, lint
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Repository
from support.triton import IDENTITY

IO = """\
input {{ name: "{0}" data_type: TYPE_{2} dims: [ {3} ] }}
output {{ name: "{1}" data_type: TYPE_{2} dims: [ {3} ] }}
"""


def step(
    model: str = "s",
    reads: dict[str, str] | None = None,
    writes: dict[str, str] | None = None,
    version: str = "model_version: -1",
) -> str:
    """A step as it stands in a config; `x` is read out of `a` and `y` written into `b` where nothing else is said."""
    maps = [
        f'{kind}_map {{ key: "{key}" value: "{tensor}" }}'
        for kind, mapped in (("input", reads or {"x": "a"}), ("output", writes or {"y": "b"}))
        for key, tensor in mapped.items()
    ]
    return f'step {{ model_name: "{model}" {version} {" ".join(maps)} }}\n'


def write_ensemble(repository: Path, *steps: str, size: int = 8, io: str = "", more: str = "", name: str = "m") -> Path:
    """An ensemble with input `a` and output `b`, FP32 [4]; returns the repository."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(
        f'platform: "ensemble"\nmax_batch_size: {size}\n{io or IO.format("a", "b", "FP32", "4")}{more}'
        f"ensemble_scheduling {{\n{''.join(steps)}}}\n"
    )
    return repository


def write_step(
    repository: Path,
    name: str = "s",
    *,
    dims: str = "4",
    dtype: str = "FP32",
    size: int = 8,
    code: str = IDENTITY,
    more: str = "",
) -> Path:
    """A Python model with input `x` and output `y`; returns its folder."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(code)
    batching = "dynamic_batching { }\n" if size else ""
    (folder / "config.pbtxt").write_text(
        f'backend: "python"\nmax_batch_size: {size}\n{IO.format("x", "y", dtype, dims)}{batching}'
        f"instance_group {{ kind: KIND_CPU count: 1 }}\n{more}"
    )
    return folder


def found(*repositories: Path) -> list[Finding]:
    """Everything that the linter says of repositories that one server has."""
    return lint([Repository(path, Settings()) for path in repositories], [], Settings(), RULES)


def codes(*repositories: Path) -> list[str]:
    """The codes of what the linter says, each once."""
    return sorted({finding.rule.code for finding in found(*repositories)})


def said(repository: Path, code: str) -> list[str]:
    """What a rule says."""
    return [finding.message for finding in found(repository) if finding.rule.code == code]


def test_a_sound_ensemble_has_no_findings(tmp_path: Path) -> None:
    """What the other tests find is what they made."""
    write_step(tmp_path)
    assert codes(write_ensemble(tmp_path, step())) == []


def test_a_step_may_stand_in_another_repository_of_the_server(tmp_path: Path) -> None:
    """Linted with it, its tensors count; alone, it is not there."""
    write_step(tmp_path / "two", dims="5")
    one = write_ensemble(tmp_path / "one", step())
    assert codes(one) == ["MY505"]
    assert codes(one, tmp_path / "two") == ["MY516"]


@pytest.mark.parametrize(
    ("own", "other", "size", "step_size", "fits"),
    [
        ("4", "4", 8, 8, True),
        ("-1", "4", 8, 8, True),
        ("4", "-1", 8, 8, True),
        ("4", "5", 8, 8, False),
        ("4", "2, 2", 8, 8, False),
        ("4", "-1, 4", 8, 0, True),
        ("4", "-1, 5", 8, 0, False),
        ("4", "4", 0, 8, True),
        ("-1, 4", "4", 0, 8, True),
        ("8, 4", "4", 0, 8, True),
        ("-1, 5", "4", 0, 8, False),
    ],
)
def test_shapes_fit_with_or_without_the_batch(
    tmp_path: Path, own: str, other: str, size: int, step_size: int, fits: bool
) -> None:
    """Triton's rule, seen on 2.51: without the batch, or else with -1 before the dims of what batches."""
    write_step(tmp_path, dims=other, size=step_size)
    write_ensemble(tmp_path, step(), io=IO.format("a", "b", "FP32", own), size=size)
    assert ("MY516" in codes(tmp_path)) is not fits


def test_an_ensembles_reshape_counts_and_a_steps_does_not(tmp_path: Path) -> None:
    """As Triton compares: the ensemble's shape after reshape, the step's dims before."""
    reshaped = IO.format("a", "b", "FP32", "2, 2").replace("] }", "] reshape { shape: [ 4 ] } }")
    write_step(tmp_path / "a")
    assert codes(write_ensemble(tmp_path / "a", step(), io=reshaped)) == []
    folder = write_step(tmp_path / "b", dims="2, 2")
    config = (folder / "config.pbtxt").read_text()
    (folder / "config.pbtxt").write_text(config.replace("2, 2 ] }", "2, 2 ] reshape { shape: [ 4 ] } }"))
    assert "MY516" in codes(write_ensemble(tmp_path / "b", step()))


def test_tensors_of_a_model_that_completes_its_config_are_not_judged(tmp_path: Path) -> None:
    """What is listed may be a part of them."""
    code = IDENTITY + "\n    @staticmethod\n    def auto_complete_config(config):\n        return config\n"
    write_step(tmp_path, dims="5", dtype="INT32", size=2, code=code)
    assert codes(write_ensemble(tmp_path, step(reads={"z": "a"}))) == []


@pytest.mark.parametrize("broken", ["max_batch_sise: 8\n", 'name: "other"\n'])
def test_a_steps_own_errors_are_said_once(tmp_path: Path, broken: str) -> None:
    """At its own config, not at every ensemble that it is a step of."""
    folder = write_step(tmp_path, more=broken)
    found_in = {finding.path for finding in found(write_ensemble(tmp_path, step()))}
    assert found_in == {folder / "config.pbtxt"}


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ("model_version: -1", ""),
        ("model_version: 1", ""),
        ("", "step 0 (s) has no model_version, which asks for version 0, served is 1; write model_version: -1"),
        ("model_version: 3", "step 0 (s) asks for version 3, served is 1; write model_version: -1"),
        ("model_version: -2", "step 0 (s) asks for version -2, served is 1; write model_version: -1"),
    ],
)
def test_a_steps_version_is_served_or_the_newest(tmp_path: Path, version: str, problem: str) -> None:
    """A version that is left out is 0, by the schema."""
    write_step(tmp_path)
    assert said(write_ensemble(tmp_path, step(version=version)), "MY506") == ([problem] if problem else [])


def test_a_version_that_the_policy_leaves_out_is_not_served(tmp_path: Path) -> None:
    """It stands, and Triton does not load it."""
    folder = write_step(tmp_path)
    (folder / "2").mkdir()
    (folder / "2" / "model.py").write_text(IDENTITY)
    write_ensemble(tmp_path, step(version="model_version: 1"))
    assert len(said(tmp_path, "MY506")) == 1


def test_version_0_may_be_meant(tmp_path: Path) -> None:
    """A folder 0 is a version."""
    (write_step(tmp_path) / "1").rename(tmp_path / "s" / "0")
    assert said(write_ensemble(tmp_path, step(version="")), "MY506") == []


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((step(writes={"y": "c"}), step(reads={"x": "c"})), []),
        ((step(reads={"x": "c"}), step(writes={"y": "c"})), []),
        ((step(reads={"x": "nowhere"}),), ["MY510", "MY514"]),
        ((step(), step(reads={"x": "c"}, writes={"y": "c"})), ["MY510"]),
        ((step(), step(reads={"x": "c"}, writes={"y": "d"}), step(reads={"x": "d"}, writes={"y": "c"})), ["MY510"]),
        ((step(writes={"y": "c"}),), ["MY511", "MY513"]),
        ((step(), step()), ["MY512"]),
        ((step(writes={"y": "a"}), step()), ["MY512"]),
        ((step(reads={"x": "b"}, writes={"y": "b"}),), ["MY510", "MY514"]),
    ],
)
def test_tensors_flow_from_inputs_to_outputs(tmp_path: Path, steps: Sequence[str], expected: list[str]) -> None:
    """In any order of the steps; what leads nowhere or comes from nowhere is told once."""
    write_step(tmp_path)
    assert codes(write_ensemble(tmp_path, *steps)) == expected


def test_ensembles_may_be_steps_but_not_of_one_another(tmp_path: Path) -> None:
    """Through any number of others."""
    write_step(tmp_path)
    write_ensemble(tmp_path, step(), name="inner")
    write_ensemble(tmp_path, step("inner", {"a": "a"}, {"b": "b"}), name="outer")
    assert codes(tmp_path) == []
    write_ensemble(tmp_path, step("there", {"a": "a"}, {"b": "b"}), name="here")
    write_ensemble(tmp_path, step("here", {"a": "a"}, {"b": "b"}), name="there")
    write_ensemble(tmp_path, step("here", {"a": "a"}, {"b": "b"}), name="before")
    assert [(finding.path.parent.name, finding.rule.code) for finding in found(tmp_path)] == [
        ("here", "MY507"),
        ("there", "MY507"),
    ]


def test_a_config_for_a_kind_of_machine_is_held_against_its_likes(tmp_path: Path) -> None:
    """configs/l4.pbtxt of the ensemble is served with configs/l4.pbtxt of the step, where that has one."""
    folder = write_step(tmp_path)
    (folder / "configs").mkdir()
    config = (folder / "config.pbtxt").read_text()
    (folder / "configs" / "l4.pbtxt").write_text(config.replace("max_batch_size: 8", "max_batch_size: 4"))
    ensemble = write_ensemble(tmp_path, step()) / "m"
    (ensemble / "configs").mkdir()
    for name in ("l4", "h200"):
        (ensemble / "configs" / f"{name}.pbtxt").write_text((ensemble / "config.pbtxt").read_text())
    assert [finding.path.name for finding in found(tmp_path) if finding.rule.code == "MY517"] == ["l4.pbtxt"]


@pytest.mark.parametrize("empty", ["instance_group: [ ]\n", "model_warmup: [ ]\n"])
def test_an_empty_list_is_nothing(tmp_path: Path, empty: str) -> None:
    """Triton sees no field there."""
    write_step(tmp_path)
    assert codes(write_ensemble(tmp_path, step(), more=empty)) == []


@pytest.mark.parametrize(
    "text",
    [
        'platform: "ensemble"',
        'platform: "ensemble" ensemble_scheduling { step { } }',
        'platform: "ensemble" ensemble_scheduling { step { model_name: "" input_map { } output_map { } } }',
        'platform: "ensemble" input { } output { } ensemble_scheduling { step { model_name: "m" } }',
        'ensemble_scheduling { step { model_name: "m" input_map { key: "" value: "" } } }',
        'platform: "ensemble" max_batch_size: -5 ensemble_scheduling { step { model_version: 9223372036854775807 } }',
    ],
)
def test_half_an_ensemble_is_judged(tmp_path: Path, text: str) -> None:
    """No rule stumbles over what is missing."""
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text(text)
    assert any(code.startswith("MY5") for code in codes(tmp_path))
