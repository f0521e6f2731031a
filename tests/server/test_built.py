"""What of a repository is built: told by the folders, for models and for ensembles."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard_server.built import expected, to_build, unbuilt, with_steps
from modelyard_server.checks import check_models
from modelyard_server.errors import RepositoryError
from support.triton import write_model


def ensemble(repository: Path, name: str, *steps: str, version: bool = True, config: str = "config.pbtxt") -> None:
    """An ensemble's folder."""
    path = repository / name / config
    path.parent.mkdir(parents=True, exist_ok=True)
    called = "".join(f'step {{ model_name: "{step}" }} # model_name: "nobody"\n' for step in steps)
    path.write_text(f'platform: "ensemble"\nensemble_scheduling {{ {called} }}')
    if version:
        (repository / name / "1").mkdir(exist_ok=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One system that is built, one of which a step is not, and an ensemble of that."""
    write_model(tmp_path, "tokenizer")
    write_model(tmp_path, "encoder", None)
    ensemble(tmp_path, "whole", "tokenizer")
    ensemble(tmp_path, "half", "tokenizer", "encoder")
    ensemble(tmp_path, "outer", "half")
    return tmp_path


def test_an_ensemble_is_built_with_its_steps(repository: Path) -> None:
    """Its own version does not suffice; the reason names the step, through ensembles of ensembles."""
    assert unbuilt(repository) == {
        "encoder": "it has no version",
        "half": "it calls encoder, which has no version",
        "outer": "it calls half, which has no version",
    }
    assert expected(repository, ()) == {"tokenizer", "whole"}
    (repository / "whole" / "1").rmdir()
    assert unbuilt(repository)["whole"] == "it has no version"


@pytest.mark.parametrize(("folder", "built"), [("2", True), ("12", True), ("01", False), ("0", False), ("v1", False)])
def test_a_version_is_a_number_as_triton_takes_it(tmp_path: Path, folder: str, built: bool) -> None:
    """Without a leading zero, and nothing else."""
    (write_model(tmp_path, "m", None) / folder).mkdir()
    assert ("m" not in unbuilt(tmp_path)) is built


def test_a_file_is_no_version(tmp_path: Path) -> None:
    """Only a folder is."""
    (write_model(tmp_path, "m", None) / "1").write_text("")
    assert unbuilt(tmp_path) == {"m": "it has no version"}


def test_a_step_that_nobody_has_is_tritons_to_tell(tmp_path: Path) -> None:
    """It can come out of another repository, or be a mistake in the config: building does not mend it."""
    ensemble(tmp_path, "whole", "elsewhere")
    assert unbuilt(tmp_path) == {}


def test_the_config_that_is_served_decides(repository: Path) -> None:
    """A machine's own config may call other steps."""
    ensemble(repository, "whole", "encoder", config="configs/mine.pbtxt")
    assert "whole" not in unbuilt(repository)
    assert unbuilt(repository, "mine")["whole"] == "it calls encoder, which has no version"


def test_the_command_names_what_brings_the_rest(repository: Path) -> None:
    """An ensemble's steps are built with it."""
    assert to_build(repository, unbuilt(repository)) == "modelyard build outer"
    assert with_steps(repository, ["outer"]) == {"outer", "half", "tokenizer", "encoder"}


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (("nobody",), r"holds no 'nobody'; it has encoder, half, outer, tokenizer, whole"),
        (("tokenizer", "encoder"), r"encoder cannot be served: it has no version. Build it: modelyard build encoder"),
        (("half",), r"half cannot be served: it calls encoder, which has no version. Build it: modelyard build half"),
    ],
)
def test_what_is_asked_for_must_be_built(repository: Path, models: tuple[str, ...], message: str) -> None:
    """With the reason and the command; what is not asked for need not be."""
    check_models(repository, ())
    check_models(repository, ("whole",))
    with pytest.raises(RepositoryError, match=message):
        check_models(repository, models)


def test_something_must_be_built(tmp_path: Path) -> None:
    """A server that serves nothing helps nobody."""
    write_model(tmp_path, "one", None)
    with pytest.raises(RepositoryError, match=r"none of the 1 models of .* is built\. .*: modelyard build"):
        check_models(tmp_path, ())
