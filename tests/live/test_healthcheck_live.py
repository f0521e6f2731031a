from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
import tritonclient.http

from modelyard_build.repository import config
from modelyard_server.process import TritonServer, free_ports
from support.client_models import write_model
from support.step_kinds import counter, speller
from support.text_system import ENCODER, ENSEMBLE, answer, text_samples, write_golden, write_text_system

pytestmark = pytest.mark.live

SCRIPT = Path(__file__).parents[2] / "deploy" / "healthcheck" / "infer.py"
GOOD = text_samples(["hello"])


@pytest.fixture(name="repository", scope="module")
def text_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_system(tmp_path_factory.mktemp("repository"))


@pytest.fixture(name="server", scope="module")
def running_server(serve: Callable[[Path], TritonServer], repository: Path) -> TritonServer:
    return serve(repository)


@pytest.fixture(autouse=True)
def _good_samples(repository: Path) -> Iterator[None]:
    """Every test may write other golden samples."""
    yield
    write_golden(repository, ENSEMBLE, GOOD)


def check(server_url: str, repository: Path) -> tuple[int, str]:
    """Runs the script as the container does: an interpreter with the standard library alone."""
    line = [sys.executable, "-I", "-S", str(SCRIPT), f"--url=http://{server_url}", f"--repository={repository}"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


def status(url: str) -> int:
    """The status of a GET."""
    with urlopen(url) as response:  # noqa: S310 - our own server
        return int(response.status)


def test_a_server_that_answers_rightly_is_healthy(server: TritonServer, repository: Path) -> None:
    """The ensemble is checked, and with it its steps: they are not asked on their own."""
    assert check(server.http_url, repository) == (0, "healthy: texter answered as expected")


def test_a_dead_python_model_is_unhealthy_though_triton_says_ready(server: TritonServer, repository: Path) -> None:
    """The reason for this script: Triton's ready endpoints stay 200 while every request fails."""
    stubs = [
        process
        for process in psutil.Process().children(recursive=True)
        if str(repository / ENCODER) in " ".join(process.cmdline()) and "stub" in process.name()
    ]
    assert stubs
    for stub in stubs:
        stub.kill()
    code, sentence = check(server.http_url, repository)
    assert status(f"http://{server.http_url}/v2/health/ready") == 200
    assert status(f"http://{server.http_url}/v2/models/{ENSEMBLE}/ready") == 200
    assert code == 1
    assert sentence.startswith("unhealthy: texter does not answer: ")
    reload(server, ENCODER)
    assert check(server.http_url, repository)[0] == 0


def test_an_unloaded_model_is_unhealthy(server: TritonServer, repository: Path) -> None:
    """In explicit model control nobody loads it again by himself."""
    with tritonclient.http.InferenceServerClient(server.http_url) as client:
        client.unload_model(ENSEMBLE)
        try:
            code, sentence = check(server.http_url, repository)
        finally:
            client.load_model(ENSEMBLE)
    assert code == 1
    assert sentence.startswith("unhealthy: texter does not answer: ")
    assert "texter" in sentence.removeprefix("unhealthy: texter")


def test_a_wrong_number_is_unhealthy(server: TritonServer, repository: Path) -> None:
    """An answer alone is no health: it is held against validation_data."""
    wrong = {**answer("hello"), "embedding": {"content": [532.0, 0.0, 104.0, 104 / 3], "shape": [4]}}
    write_golden(repository, ENSEMBLE, {**GOOD, "validation_data": [wrong]})
    assert check(server.http_url, repository) == (
        1,
        "unhealthy: texter's output embedding is 111.0 at index 1; expected 0.0",
    )


def test_a_difference_of_precision_is_healthy(server: TritonServer, repository: Path) -> None:
    """Another precision or machine answers with other last digits; 2 percent of the largest value here."""
    near = {**answer("hello"), "embedding": {"content": [542.0, 111.0, 104.0, 104 / 3], "shape": [4]}}
    write_golden(repository, ENSEMBLE, {**GOOD, "validation_data": [near]})
    assert check(server.http_url, repository)[0] == 0


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        ({"length": {"content": [6], "shape": [1]}}, "texter's output length is 5 at index 0; expected 6"),
        ({"length": {"content": [5, 5], "shape": [2]}}, "texter's output length has 1 values; expected 2"),
        ({"label": {"content": ["x"], "shape": [1]}}, "texter answered without its output label"),
    ],
)
def test_other_answers_than_expected_are_unhealthy(
    server: TritonServer, repository: Path, expected: dict[str, object], sentence: str
) -> None:
    """Whole numbers exactly; every value; every output."""
    write_golden(repository, ENSEMBLE, {**GOOD, "validation_data": [expected]})
    assert check(server.http_url, repository) == (1, f"unhealthy: {sentence}")


def test_a_nan_is_unhealthy(server: TritonServer, repository: Path) -> None:
    """Also where no expected answer is known."""
    write_golden(repository, ENSEMBLE, {"data": text_samples(["nan"])["data"]})
    code, sentence = check(server.http_url, repository)
    assert code == 1
    assert "texter" in sentence
    assert "finite" in sentence or "NaN" in sentence


def test_a_refused_request_is_unhealthy(server: TritonServer, repository: Path) -> None:
    """The model's own message is in the sentence."""
    write_golden(repository, ENSEMBLE, text_samples(["refuse"]))
    code, sentence = check(server.http_url, repository)
    assert code == 1
    assert "this text is refused" in sentence


def test_a_server_that_is_not_there_is_unhealthy(repository: Path) -> None:
    """Exit code 1 and a sentence, as the container's health log shows it."""
    code, sentence = check(f"127.0.0.1:{free_ports(1)[0]}", repository)
    assert code == 1
    assert "refused" in sentence


def test_a_repository_without_samples_is_unhealthy(server: TritonServer, tmp_path: Path) -> None:
    """A check that checked nothing must not say healthy."""
    code, sentence = check(server.http_url, tmp_path)
    assert code == 1
    assert "has golden samples" in sentence


def test_what_is_not_built_is_left_out(server: TritonServer, repository: Path) -> None:
    """A fresh checkout has configs and samples of models that nobody built there; the sentence names them."""
    fresh, pair = repository / "fresh", repository / "pair"
    (pair / "1").mkdir(parents=True)
    fresh.mkdir()
    (fresh / "config.pbtxt").write_text('backend: "python"')
    (pair / "config.pbtxt").write_text('platform: "ensemble" # \nmodel_name: "fresh"\nmodel_name: "texter_encoder"')
    for model in ("fresh", "pair"):
        write_golden(repository, model, GOOD)
    try:
        assert check(server.http_url, repository) == (
            0,
            "healthy: texter answered as expected; not built, and left out: fresh, pair",
        )
    finally:
        shutil.rmtree(fresh)
        shutil.rmtree(pair)


def test_where_nothing_is_built_the_way_out_is_named(server: TritonServer, tmp_path: Path) -> None:
    """Nothing serves then, which is no health."""
    (tmp_path / "fresh" / "golden").mkdir(parents=True)
    (tmp_path / "fresh" / "config.pbtxt").write_text('backend: "python"')
    (tmp_path / "fresh" / "golden" / "samples.json").write_text("{}")
    code, sentence = check(server.http_url, tmp_path)
    assert code == 1
    assert sentence.endswith("Not built are fresh: modelyard build")


def reload(server: TritonServer, model: str) -> None:
    """Unload and load: what heals a model whose Python process died."""
    with tritonclient.http.InferenceServerClient(server.http_url) as client:
        client.unload_model(model)
        client.load_model(model)
        client.load_model(ENSEMBLE)
        deadline = time.monotonic() + 30
        while not client.is_model_ready(ENSEMBLE) and time.monotonic() < deadline:
            time.sleep(0.05)


def test_a_stream_and_a_sequence_are_asked_as_they_answer(
    serve: Callable[[Path], TritonServer], tmp_path: Path
) -> None:
    """A decoupled model by its first response, one with state by a whole sequence; what each fails with is told."""
    for model in (speller(tmp_path), counter(tmp_path)):
        folder = tmp_path / "repository" / model.name
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(config.render(replace(model, calls={}, parameters={"net": "absent"})))
        shutil.copyfile(model.source, folder / "1" / "model.py")
    write_golden(tmp_path / "repository", "counter", {"data": [{"value": [3]}], "validation_data": [{"sum": [3]}]})
    server = serve(tmp_path / "repository")
    assert check(server.http_url, tmp_path / "repository") == (0, "healthy: counter answered as expected")
    write_golden(tmp_path / "repository", "speller", {"data": [{"tokens": [3, 4, 5]}]})
    code, sentence = check(server.http_url, tmp_path / "repository")
    assert code == 1
    assert sentence.startswith("unhealthy: speller does not answer: ")
    assert "absent" in sentence


def test_a_stream_of_pictures_is_healthy(serve: Callable[[Path], TritonServer], tmp_path: Path) -> None:
    """What is no text stands in the answer as it is, and an input that is optional may be left out."""
    config = """
        backend: "python"
        max_batch_size: 0
        model_transaction_policy { decoupled: true }
        input { name: "seed" data_type: TYPE_INT64 dims: [ 1 ] }
        input { name: "first_index" data_type: TYPE_INT64 dims: [ 1 ] optional: true }
        output { name: "image" data_type: TYPE_STRING dims: [ 1 ] }
    """
    model = r"""
        class TritonPythonModel:
            def execute(self, requests):
                for request in requests:
                    sender = request.get_response_sender()
                    image = np.array([b"\x89PNG\r\n\x1a\n\xff\"\x00"], np.object_)
                    sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("image", image)]))
                    sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    """
    write_model(tmp_path, "painter", config, model)
    write_golden(tmp_path, "painter", {"data": [{"seed": [7]}]})
    assert check(serve(tmp_path).http_url, tmp_path) == (0, "healthy: painter answered as expected")
