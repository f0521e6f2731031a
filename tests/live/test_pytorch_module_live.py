"""A module that no graph can hold, built, proven and served as it is by the real Triton."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.torch import save_file
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from modelyard_build import steps
from modelyard_build.model import Arrays
from modelyard_build.repository import manifest
from modelyard_server.log import read_log
from modelyard_server.process import TritonServer
from support import greedy_decoder, longformer
from support.backend_behaviour import Runs
from support.candidates import build, declare_only
from support.greedy_decoder import EXITS, PRINTED, RAISES
from support.onnx_repository import at_once, infer_input
from support.triton import eventually, options_on_free_ports

pytestmark = pytest.mark.live

HALVES = """
import torch


class Halves(torch.nn.Module):
    def forward(self, b, h):
        return {"b": [2 * b], "h": (h + 1, "not served")}
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder."""
    return greedy_decoder.write(tmp_path_factory.mktemp("user"))


@pytest.fixture(scope="module")
def repository(user: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a real build publishes, proven through a Triton of its own."""
    folder = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch, longformer.declare(user / longformer.NAME) as adopted:
        declare_only(patch, greedy_decoder.declare(user), adopted)
        build(folder)
    write_halves(folder / "halves")
    return folder


def write_halves(folder: Path) -> None:
    """A module that takes and gives numbers of 16 bits, as no declaration of the build does."""
    version = folder / "1"
    (version / "source").mkdir(parents=True)
    (version / "model.py").write_text((Path(steps.__path__[0]) / "pytorch_module.py").read_text())
    (version / "source" / "halves.py").write_text(HALVES)
    save_file({}, version / "weights.safetensors")
    tensors = [{"name": name, "dtype": dtype, "dims": [2]} for name, dtype in (("b", "BF16"), ("h", "FP16"))]
    outputs = [{**tensor, "place": f"{tensor['name']}[0]"} for tensor in tensors]
    description = {"module": "halves:Halves", "inputs": tensors, "outputs": outputs}
    (version / "module.json").write_text(json.dumps(description))
    stated = '[ { name: "b" data_type: TYPE_BF16 dims: [ 2 ] }, { name: "h" data_type: TYPE_FP16 dims: [ 2 ] } ]'
    group = "instance_group [ { kind: KIND_CPU } ] dynamic_batching { }"
    (folder / "config.pbtxt").write_text(f'backend: "python" max_batch_size: 4 input {stated} output {stated} {group}')


@pytest.fixture(scope="module")
def triton(repository: Path) -> Iterator[TritonServer]:
    """The real Triton over it."""
    with TritonServer(options_on_free_ports(repository)) as server:
        yield server


@pytest.fixture
def client(triton: TritonServer) -> Iterator[Any]:
    """A client of it."""
    with grpc.InferenceServerClient(triton.grpc_url) as client:
        yield client


def ask(client: Any, tokens: Any, temperature: float = 1.0) -> dict[str, Any]:
    """One request."""
    rows = np.array(tokens, np.int64)
    inputs = [
        infer_input("tokens", rows, "INT64"),
        infer_input("temperature", np.full((len(rows), 1), temperature, np.float32), "FP32"),
    ]
    answer = client.infer("decoder", inputs)
    return {name: answer.as_numpy(name) for name in ("words", "score", "state")}


def expected(user: Path, tokens: Any) -> Arrays:
    """What PyTorch answers here."""
    model = greedy_decoder.declare(user)
    rows = np.array(tokens, np.int64)
    files = {"weights": user / "decoder.pt"}
    return model.reference(files, {"tokens": rows, "temperature": np.ones((len(rows), 1), np.float32)})


def test_the_version_is_complete_and_proven(repository: Path) -> None:
    """The step, the module's files and how it is made; integers equal in every element, floats within rounding."""
    version = repository / "decoder" / "1"
    record = manifest.read(version)
    assert set(record.files) == {
        "model.py",
        "module.json",
        "source/greedy_decoder.py",
        "source/vocabulary.py",
        "weights.safetensors",
    }
    assert record.verification["items"] == 64 + 2 * 8
    assert record.verification["equal"] == ["words"]
    for name in ("score", "state"):
        evidence = record.verification[name]
        assert 0 < evidence["max_error"] <= evidence["bound"]
        assert evidence["min_cosine"] > 0.99999
    assert json.loads((version / "module.json").read_text())["module"] == "greedy_decoder:GreedyDecoder"


def test_rows_stop_where_they_stop(client: Any, user: Path) -> None:
    """The answers are PyTorch's, for rows whose loops end after different numbers of words."""
    tokens = np.random.default_rng(5).integers(1, PRINTED, (8, 5))
    answer, own = ask(client, tokens), expected(user, tokens)
    assert np.array_equal(answer["words"], own["words"])
    assert len({int((row != 0).sum()) for row in answer["words"]}) > 2
    np.testing.assert_allclose(answer["score"], own["score"], rtol=1e-5)
    assert answer["score"].shape == (8, 1)


def test_requests_of_a_shape_run_once_and_others_beside_them(client: Any, user: Path) -> None:
    """Eight of one shape are one run; of two shapes that Triton batched, each has its own run and its own answers."""
    runs = Runs(client, "decoder")
    answers = at_once([partial(ask, client, [[number + 1] * 5]) for number in range(8)])
    words = np.concatenate([answer.result()["words"] for answer in answers])
    assert np.array_equal(words, expected(user, [[number + 1] * 5 for number in range(8)])["words"])
    assert runs.after(requests=8) == 1


def test_a_request_that_fails_fails_alone(client: Any, user: Path, triton: TritonServer) -> None:
    """`raise` and `sys.exit` in forward are errors of the one request, with the place in the user's file."""
    tokens = [[1, 2], [RAISES, 2], [3, 4], [EXITS, 2], [5, 6]]
    futures = at_once([partial(ask, client, [row]) for row in tokens])
    with pytest.raises(InferenceServerException, match="ValueError: token 42 means nothing") as raised:
        futures[1].result()
    assert "the module failed at source/greedy_decoder.py:" in str(raised.value)
    with pytest.raises(InferenceServerException, match=r"it called sys.exit\(3\)"):
        futures[3].result()
    for place in (0, 2, 4):
        assert np.array_equal(futures[place].result()["words"], expected(user, [tokens[place]])["words"])
    assert eventually(lambda: "Traceback (most recent call last)" in read_log(triton.log_path))


def test_prints_go_to_the_log(client: Any, triton: TritonServer) -> None:
    """Line by line, as Triton's own, with the instance's name."""
    ask(client, [[PRINTED, 1]])
    assert eventually(lambda: "decoder_0_0: in two lines" in read_log(triton.log_path))
    assert "decoder_0_0: a printed token came" in read_log(triton.log_path)


@pytest.mark.parametrize("length", [3, 21, 80])
def test_a_model_of_transformers_answers_as_there(client: Any, user: Path, length: int) -> None:
    """No graph holds it: its class and settings are what is published, and every length is served."""
    inputs = longformer.tokens(3, length)
    answer = client.infer(longformer.NAME, [infer_input(name, array, "INT64") for name, array in inputs.items()])
    wanted = longformer.logits(user / longformer.NAME, inputs)
    np.testing.assert_allclose(answer.as_numpy("logits"), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "message"), [(17, r"input 'tokens' has dims \[17\], expected \[1 to 16\]"), (0, r"has dims \[0\]")]
)
def test_a_size_that_is_not_declared_is_refused(client: Any, width: int, message: str) -> None:
    """The caller's mistake, with what is expected."""
    with pytest.raises(InferenceServerException, match=message):
        ask(client, np.ones((1, width)))


def test_numbers_of_16_bits_come_and_go(client: Any) -> None:
    """BF16, which numpy has no type for, and FP16; each output out of its place in what forward returns."""
    rows = np.array([[1.5, 3]], np.float32)
    inputs = [
        infer_input("b", rows.astype(ml_dtypes.bfloat16), "BF16"),
        infer_input("h", rows.astype(np.float16), "FP16"),
    ]
    answer = client.infer("halves", inputs)
    assert answer.as_numpy("b").astype(np.float32).tolist() == [[3, 6]]
    assert answer.as_numpy("h").dtype == np.float16
    assert answer.as_numpy("h").tolist() == [[2.5, 4]]


def test_nothing_is_written_into_the_version(repository: Path, client: Any) -> None:
    """Importing the user's files leaves no bytecode beside them."""
    ask(client, [[1]])
    assert not list((repository / "decoder" / "1" / "source").glob("__pycache__"))
