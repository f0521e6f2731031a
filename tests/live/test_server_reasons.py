"""Why a model does not serve, out of the log of the real Triton: one start with many broken models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard_server.control import left_out, load_model, model_states
from modelyard_server.errors import ModelControlError, ModelsNotReadyError, ServerDiedError
from modelyard_server.process import TritonServer
from support.triton import FAILING, IDENTITY, infer, options_on_free_ports, write_model

pytestmark = pytest.mark.live

ENSEMBLE = """\
platform: "ensemble"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] }
ensemble_scheduling {
  step {
    model_name: "raising" model_version: -1
    input_map { key: "x" value: "x" } output_map { key: "y" value: "y" }
  }
}
"""

WARMUP = """\
model_warmup {
  name: "sample" batch_size: 1
  inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } }
}
"""
REFUSING = """\
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("no zeros")) for _ in requests]
"""

REASONS = {
    "misspelt": r'6:14: Message type "inference.ModelConfig" has no field named "max_batchsize"',
    "renamed": "unexpected directory name 'renamed' for model 'other'",
    "raising": "ValueError: no tokenizer.json in this version",
    "importing": "No module named 'no_such_module'",
    "backendless": "unable to find backend library for backend 'no_such_backend'",
    "ensemble": "depends on 'raising' which has no loaded version",
    "on_gpu": "KIND_GPU but no GPUs are available",
}


def write_broken_models(repository: Path) -> None:
    """One model for each reason, and `good`, which serves."""
    write_model(repository, "good")
    write_model(repository, "misspelt", more="max_batchsize: 8\n")
    write_model(repository, "renamed", more='name: "other"\n')
    write_model(repository, "unbuilt", None)
    write_model(repository, "raising", FAILING)
    write_model(repository, "importing", "import no_such_module\n" + IDENTITY)
    write_model(repository, "backendless", backend="no_such_backend")
    config = write_model(repository, "on_gpu") / "config.pbtxt"
    config.write_text(config.read_text().replace("KIND_CPU", "KIND_GPU"))
    (repository / "ensemble" / "1").mkdir(parents=True)
    (repository / "ensemble" / "config.pbtxt").write_text(ENSEMBLE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TritonServer, ModelsNotReadyError]]:
    """A server over the broken models, and what waiting for it raised."""
    repository = tmp_path_factory.mktemp("repository")
    write_broken_models(repository)
    server = TritonServer(options_on_free_ports(repository))
    server.start()
    try:
        with pytest.raises(ModelsNotReadyError) as caught:
            server.wait_ready()
        yield server, caught.value
    finally:
        server.stop()


@pytest.mark.parametrize("model", sorted(REASONS))
def test_each_broken_model_has_its_reason(served: tuple[TritonServer, ModelsNotReadyError], model: str) -> None:
    """The error holds the reason, in one line, also where Triton's own answer has none."""
    reason = served[1].reasons[model]
    assert REASONS[model] in reason
    assert "\n" not in reason


def test_all_are_reported_and_no_other(served: tuple[TritonServer, ModelsNotReadyError]) -> None:
    """Every broken model is counted, and the message leads to the log."""
    server, error = served
    assert sorted(error.reasons) == sorted(REASONS)
    assert f"{len(REASONS)} of {len(REASONS) + 1} models did not load" in str(error)
    assert str(server.log_path) in str(error)


def test_what_is_not_built_is_no_failure(served: tuple[TritonServer, ModelsNotReadyError]) -> None:
    """It is left out of the states, told apart, and a load that asks for it is refused with the command."""
    server, error = served
    assert "unbuilt" not in error.reasons
    assert "unbuilt" not in {row.name for row in model_states(server.http_url)}
    assert left_out(server.state) == {"unbuilt": "it has no version"}
    with pytest.raises(
        ModelControlError, match=r"unbuilt cannot be loaded: it has no version\. Build it: modelyard build"
    ):
        load_model(server.http_url, "unbuilt")


def test_the_others_serve(served: tuple[TritonServer, ModelsNotReadyError]) -> None:
    """Models that do not load do not take a good one down."""
    assert infer(served[0].http_url, "good", [5.0]) == [5.0]


@pytest.mark.parametrize("attempt", range(3))
def test_a_warmup_that_fails_is_named(tmp_path: Path, attempt: int) -> None:
    """Also where Triton ends over it without a word, as it does now and then: the error says where to look."""
    write_model(tmp_path, "warmed", REFUSING, more=WARMUP)
    server = TritonServer(options_on_free_ports(tmp_path))
    server.start()
    try:
        with pytest.raises((ModelsNotReadyError, ServerDiedError), match=r"warmed.*warmup|warmup sample.*warmed"):
            server.wait_ready()
    finally:
        server.stop()
