"""The pytorch backend in the real Triton: TorchScript and a PT2 archive, named, batched, refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from modelyard_server.process import TritonServer
from support import torch_models
from support.backend_behaviour import BackendBehaviour, Runs
from support.onnx_repository import BATCHING, ONE_INSTANCE, at_once, floats, infer_input, tensors
from support.onnx_repository import config as any_config

pytestmark = pytest.mark.live

TWO_INSTANCES = "instance_group [ { count: 2 kind: KIND_CPU } ]"
BATCH_IO = """
batch_input [ { kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "ends" data_type: TYPE_INT32 source_input: "x" } ]
batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "doubled" source_input: "x" } ]
"""
WORDS = "TYPE_STRING dims: [ 1 ] reshape { shape: [ ] }"


def config(*lines: str, max_batch_size: int = 8, instances: str = ONE_INSTANCE) -> str:
    """A config.pbtxt of this backend."""
    return any_config(*lines, max_batch_size=max_batch_size, instances=instances, backend="pytorch")


PAIR = config(
    tensors("input", x="TYPE_FP32 dims: [ -1 ]"),
    tensors("output", doubled="TYPE_FP32 dims: [ -1 ]", negated="TYPE_FP32 dims: [ -1 ]"),
    BATCHING,
)
LOOKUP = config(
    tensors("input", index="TYPE_INT64 dims: [ -1 ]"), tensors("output", row="TYPE_FP32 dims: [ -1, 2 ]"), BATCHING
)
MODELS = {
    "pair": (torch_models.Pair(), PAIR),
    "slow": (
        torch_models.Slow(),
        config(
            tensors("input", steps="TYPE_INT64 dims: [ 1 ]"),
            tensors("output", rows="TYPE_INT64 dims: [ 1 ]"),
            "dynamic_batching { }",
        ),
    ),
    "lookup": (torch_models.Lookup(), LOOKUP),
    "swapped": (
        torch_models.Scale(),
        config(
            tensors("input", b__1="TYPE_FP32 dims: [ 1 ]", a__0="TYPE_FP32 dims: [ 1 ]"),
            tensors("output", y="TYPE_FP32 dims: [ 1 ]"),
            instances="instance_group [ { kind: KIND_MODEL } ]",
        ),
    ),
    "dictionary": (
        torch_models.FromDict(),
        config(
            tensors("input", b="TYPE_INT32 dims: [ 2 ]", a="TYPE_INT32 dims: [ 2 ]"),
            tensors("output", y="TYPE_INT32 dims: [ 2 ]"),
            instances=TWO_INSTANCES,
        ),
    ),
    "strings": (
        torch_models.Shout(),
        config(
            tensors("input", texts=WORDS),
            tensors("output", shout__0=WORDS, length__1="TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] }"),
            BATCHING,
        ),
    ),
    "ragged": (
        torch_models.Ragged(),
        config(
            tensors("input", x="TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true"),
            tensors("output", doubled="TYPE_FP32 dims: [ -1 ]"),
            BATCH_IO,
            BATCHING,
        ),
    ),
}
ARCHIVE = config(
    tensors("input", INPUT__1="TYPE_FP32 dims: [ 2 ]", INPUT__0="TYPE_FP32 dims: [ 2 ]"),
    tensors("output", RESULT="TYPE_FP32 dims: [ 2 ]"),
    'default_model_filename: "model.pt2"',
    BATCHING,
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MODELS, and a PT2 archive."""
    folder = tmp_path_factory.mktemp("models")
    for name, (module, text) in MODELS.items():
        torch_models.write_model(folder, name, module, text)
    examples = torch.ones(3, 2), torch.zeros(3, 2)
    torch_models.save_archive(torch_models.Scale(), folder / "archive" / "1" / "model.pt2", *examples)
    (folder / "archive" / "config.pbtxt").write_text(ARCHIVE)
    return folder


@pytest.fixture(scope="module")
def server(serve: Callable[[Path], TritonServer], repository: Path) -> TritonServer:
    """Triton over the repository."""
    return serve(repository)


@pytest.fixture
def client(server: TritonServer) -> Any:
    """A client of that server."""
    return grpc.InferenceServerClient(server.grpc_url)


def words(*texts: str) -> Any:
    """A BYTES input `texts` of [n, 1]."""
    return infer_input("texts", np.array([[text.encode()] for text in texts], dtype=np.object_), "BYTES")


def look_up(client: Any, *index: int) -> Any:
    """The rows of the table, [n, 2]."""
    return client.infer("lookup", [infer_input("index", np.array([index]), "INT64")]).as_numpy("row")[0].tolist()


class TestPyTorch(BackendBehaviour):
    """As every backend."""


def test_one_bad_request_in_a_batch_fails_alone(client: Any) -> None:
    """An index outside the table: its batch-mates are served, and it gets PyTorch's words without a stack."""
    runs = Runs(client, "lookup")
    futures = at_once([partial(look_up, client, number) for number in (0, 1, 99, 2, 3, 4, 5, 6)])
    bad = futures.pop(2)
    assert [future.result() for future in futures] == [[[2 * number, 2 * number + 1]] for number in range(7)]
    with pytest.raises(InferenceServerException, match=r"PyTorch execute failure: index out of range in self$"):
        bad.result()
    assert runs.after(requests=8) == 1, "the eight were no single batch, so that nothing was tested"


def test_inputs_are_arguments_by_their_index(client: Any) -> None:
    """config.pbtxt lists them the other way round; KIND_MODEL leaves the device to the model."""
    result = client.infer("swapped", [floats("b__1", [[3]]), floats("a__0", [[2]])])
    assert result.as_numpy("y").tolist() == [[6]]


def test_a_dictionary_is_one_argument(client: Any) -> None:
    """Its keys are the names of config.pbtxt; both instances serve."""
    inputs = [infer_input(name, np.array([[1, 2]], dtype=np.int32), "INT32") for name in ("a", "b")]
    futures = at_once([partial(client.infer, "dictionary", inputs)] * 4)
    assert [future.result().as_numpy("y").tolist() for future in futures] == [[[2, 4]]] * 4


def test_strings_are_lists_in_and_out(client: Any) -> None:
    """Joined along the batch, and split by it; TorchScript counts bytes."""
    futures = at_once([partial(client.infer, "strings", [words(*texts)]) for texts in (["a", "grüße"], [""])])
    results = [future.result() for future in futures]
    assert [result.as_numpy("shout__0").tolist() for result in results] == [[[b"a!"], ["grüße!".encode()]], [[b"!"]]]
    assert [result.as_numpy("length__1").tolist() for result in results] == [[[1], [7]], [[0]]]


def test_a_string_that_is_not_utf_8_fails_alone(client: Any) -> None:
    """It is refused as the client's mistake, and its batch-mate is served."""
    bad = infer_input("texts", np.array([[b"\xff"]], dtype=np.object_), "BYTES")
    futures = at_once([partial(client.infer, "strings", [each]) for each in (bad, words("a"))])
    assert futures[1].result().as_numpy("shout__0").tolist() == [[b"a!"]]
    with pytest.raises(InferenceServerException, match="input 'texts', element 0: expected UTF-8"):
        futures[0].result()


def test_a_ragged_batch_is_one_run(client: Any) -> None:
    """Requests of different lengths are laid end to end, described by a batch_input, and cut up by a batch_output."""
    runs = Runs(client, "ragged")
    lengths = range(1, 9)
    futures = at_once([partial(client.infer, "ragged", [floats("x", [[n] * n])]) for n in lengths])
    assert [future.result().as_numpy("doubled").tolist() for future in futures] == [[[2 * n] * n] for n in lengths]
    assert runs.after(requests=8) == 1


def test_a_pt2_archive_is_served(client: Any) -> None:
    """Its inputs by their place, in whatever order config.pbtxt has them, its only output as RESULT."""
    result = client.infer("archive", [floats("INPUT__1", [[3, 4]]), floats("INPUT__0", [[1, 2]])])
    assert result.as_numpy("RESULT").tolist() == [[3, 8]]


def test_the_log_says_what_runs_a_model(server: TritonServer) -> None:
    """Artefact, version, device and threads; and that the container wants another config.pbtxt for an archive."""
    lines = [line for line in server.log_path.read_text().splitlines() if "instance.py" in line]
    assert any("pair_0_0: 1/model.pt (TorchScript) in torch" in line and "on cpu, " in line for line in lines)
    assert any("swapped_0_0" in line and "the devices it names" in line for line in lines)
    assert any("archive_0_0" in line and 'platform: \\"torch_aoti\\"' in line for line in lines)


X = tensors("input", x="TYPE_FP32 dims: [ -1 ]")
Y = tensors("output", y="TYPE_FP32 dims: [ -1 ]")
REFUSED = {
    "count": (torch_models.Scale(), config(X, Y), r"1 input\(s\).*, and forward in 1/model\.pt takes 2: x, factor"),
    "type": (torch_models.Pair(), config(X.replace("FP32", "UINT16"), Y), "data_type TYPE_UINT16, which the pytorch"),
    "nothing_listed": (torch_models.Pair(), f'backend: "pytorch"\n{ONE_INSTANCE}', "config.pbtxt lists no input"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_served_is_refused_with_its_reason(repository: Path, client: Any, case: str) -> None:
    """A load fails with our sentence in Triton's answer."""
    module, text, reason = REFUSED[case]
    torch_models.write_model(repository, f"refused_{case}", module, text)
    with pytest.raises(InferenceServerException, match=reason):
        client.load_model(f"refused_{case}")


class Harmful:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self._path, "this ran")


def test_a_pickle_is_never_run(repository: Path, client: Any, tmp_path: Path) -> None:
    """A checkpoint of torch.save() is refused, and the code in it does nothing."""
    folder = torch_models.write_model(repository, "checkpoint", torch_models.Pair(), PAIR)
    buffer = io.BytesIO()
    torch.save({"weights": Harmful(tmp_path / "ran")}, buffer)
    (folder / "1" / "model.pt").write_bytes(buffer.getvalue())
    with pytest.raises(InferenceServerException, match=r"cannot open 1/model\.pt as TorchScript.*torch\.save\(\)"):
        client.load_model("checkpoint")
    assert not (tmp_path / "ran").exists()
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert (tmp_path / "ran").exists(), "the checkpoint was harmless, so that nothing was tested"


@pytest.mark.parametrize("name", ["model.pt", "model.pt2"])
def test_a_corrupt_file_is_refused(repository: Path, client: Any, name: str) -> None:
    """TorchScript or archive: with the file and PyTorch's words."""
    folder = repository / f"corrupt_{name[6:]}"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / name).write_bytes(b"not a model")
    text = PAIR if name == "model.pt" else ARCHIVE
    (folder / "config.pbtxt").write_text(text)
    with pytest.raises(InferenceServerException, match=rf"torch .* cannot open 1/{name} as .*(zip|ZIP)"):
        client.load_model(folder.name)


def test_the_containers_name_for_archives_is_not_known(repository: Path, client: Any, server: TritonServer) -> None:
    """Triton 2.51 refuses platform torch_aoti itself, before any backend is asked."""
    folder = torch_models.write_model(repository, "aoti", torch_models.Pair(), f'platform: "torch_aoti"\n{PAIR}')
    with pytest.raises(InferenceServerException, match="failed to load 'aoti'"):
        client.load_model(folder.name)
    assert "unexpected 'platform' and 'backend' pair, got:torch_aoti, pytorch" in server.log_path.read_text()


def test_a_run_that_gives_another_type_says_so(repository: Path, client: Any) -> None:
    """TorchScript does not tell its types before it runs."""
    wrong = LOOKUP.replace("TYPE_FP32", "TYPE_FP16")
    torch_models.write_model(repository, "wrong_type", torch_models.Lookup(), wrong)
    client.load_model("wrong_type")
    with pytest.raises(
        InferenceServerException, match=r"'row' is TYPE_FP16 in config.pbtxt and TYPE_FP32 in the model"
    ):
        client.infer("wrong_type", [infer_input("index", np.array([[1]]), "INT64")])
