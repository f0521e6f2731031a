"""A step's model.py in this process, as the benchmarks run it beside Triton."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from measure.python_steps import answers, initialised
from modelyard_server.errors import ServerError

# Reads a parameter, a file beside it in both ways that Triton allows, and refuses what is negative.
STEP = """
import json
from pathlib import Path
import triton_python_backend_utils as pb_utils
from beside_this_step import ONE
from .beside_this_step import TWO

class TritonPythonModel:
    def initialize(self, args):
        self.factor = int(json.loads(args["model_config"])["parameters"]["factor"]["string_value"])
        self.version = Path(args["model_repository"], args["model_version"]).name

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        number = pb_utils.get_input_tensor_by_name(request, "number").as_numpy()
        if number[0] < 0:
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError("number is negative", pb_utils.TritonError.INVALID_ARG)
            )
        assert pb_utils.get_input_tensor_by_name(request, "other") is None
        return pb_utils.InferenceResponse([pb_utils.Tensor("total", number * self.factor + ONE + TWO)])
"""


@pytest.fixture(name="repository")
def repository_of_one_step(tmp_path: Path) -> Path:
    """Version 2 of a step, and a config for one kind of machine."""
    version = tmp_path / "times" / "2"
    version.mkdir(parents=True)
    (version / "model.py").write_text(STEP)
    (version / "beside_this_step.py").write_text("ONE, TWO = 1, 2\n")
    (tmp_path / "times" / "configs").mkdir()
    for name, factor in {"config.pbtxt": 10, "configs/here.pbtxt": 100}.items():
        text = f'backend: "python"\nparameters {{ key: "factor", value: {{ string_value: "{factor}" }} }}\n'
        (tmp_path / "times" / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(("config_name", "factor"), [("here", 100), ("elsewhere", 10)])
def test_a_step_runs_as_it_is_served(repository: Path, config_name: str, factor: int) -> None:
    """Its newest version, what lies beside it, and the parameters of the config that a server would take."""
    step = initialised(repository, "times", config_name)
    assert step.version == "2"
    found = answers(step, [{"number": np.array([4])}, {"number": np.array([5])}])
    assert [answer["total"].tolist() for answer in found] == [[4 * factor + 3], [5 * factor + 3]]


def test_what_a_step_refuses_is_no_figure(repository: Path) -> None:
    """Its own words say why."""
    step = initialised(repository, "times", "here")
    with pytest.raises(ServerError, match="refuses what it is asked in process: number is negative"):
        answers(step, [{"number": np.array([-1])}])


def test_a_step_that_is_not_built_is_said(repository: Path) -> None:
    """With what to run."""
    (repository / "another").mkdir()
    with pytest.raises(ServerError, match="run `modelyard build another` first"):
        initialised(repository, "another", "here")
