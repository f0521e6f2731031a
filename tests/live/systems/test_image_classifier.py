"""Images in, classes out: the project's own configs and decoder, in front of a small net."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from modelyard_build.model import Array
from modelyard_build.models.image_classifier import DECODER, ENSEMBLE, NET, PROBABILITIES
from modelyard_build.nets.pixels import pixels_of
from modelyard_build.repository.samples import GOLDEN, golden_json
from modelyard_client import AsyncClient, Client
from modelyard_client.errors import ClientError, InvalidInput
from modelyard_client.tasks import AsyncImageClassifier, ImageClassifier
from modelyard_ops.building import server_on_free_ports
from modelyard_server.process import TritonServer
from support import images
from support.small_classifier import CLASSES, probabilities, write_small_classifier

pytestmark = pytest.mark.live

HEALTH_CHECK = Path(__file__).parents[3] / "deploy" / "healthcheck" / "infer.py"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three models."""
    return write_small_classifier(tmp_path_factory.mktemp("model_repository"))


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    """An embedded Triton over them."""
    with server_on_free_ports(repository) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: TritonServer) -> Iterator[Client]:
    """A client of it."""
    with Client(f"grpc://{server.grpc_url}", deadline=30) as opened:
        yield opened


def column(*contents: bytes) -> Array:
    """BYTES [n, 1]."""
    return np.array(contents, dtype=np.object_).reshape(-1, 1)


def expected(content: bytes) -> Array:
    """The small net's probabilities of an image, computed here: float32 [1000]."""
    row: Array = probabilities(pixels_of(content, 224, 256)[None])[0]
    return row


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_an_image_gets_its_probabilities(server: TritonServer, protocol: str) -> None:
    """Decoder, net and what lies between them: as Pillow and numpy compute it, over both protocols."""
    url = server.grpc_url if protocol == "grpc" else server.http_url
    with Client(f"{protocol}://{url}") as client:
        for content in (images.jpeg(), images.in_colour()["PNG"], images.in_grey()["grey JPEG"]):
            found = client.infer(ENSEMBLE.name, {"image": column(content)})["probabilities"]
            assert found.shape == (1, CLASSES)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found[0], expected(content), atol=1e-6)


def test_images_of_all_kinds_in_one_request(client: Client) -> None:
    """A request may hold several images, of any size and kind."""
    contents = [images.jpeg(), *images.in_grey().values(), images.turned(6)]
    found = client.infer(DECODER.name, {"image": column(*contents)})["pixels"]
    assert found.shape == (len(contents), 224, 224, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0], pixels_of(contents[0], 224, 256))


def test_bad_images_fail_alone(server: TritonServer) -> None:
    """Corrupt, truncated, too large, no image at all: each gets its sentence, and those beside it their answers."""
    good = images.encoded(images.picture().resize((300, 300)), "JPEG", quality=80)
    asked = [item for content, words in images.bad().values() for item in ((good, ""), (content, words))]

    def infer(content: bytes) -> Array | ClientError:
        with Client(f"grpc://{server.grpc_url}") as client:
            try:
                return client.infer(DECODER.name, {"image": column(content)})["pixels"]
            except ClientError as error:
                return error

    with ThreadPoolExecutor(len(asked)) as threads:
        answers = list(threads.map(infer, [content for content, _ in asked]))
    right = pixels_of(good, 224, 256)
    for (_, words), answer in zip(asked, answers, strict=True):
        if words:
            assert isinstance(answer, InvalidInput)
            assert words in str(answer)
        else:
            assert isinstance(answer, np.ndarray)
            np.testing.assert_array_equal(answer[0], right)


def test_a_bad_image_of_a_request_is_named(client: Client) -> None:
    """By its position in the request, which fails as a whole."""
    with pytest.raises(InvalidInput, match=r"image 2 is empty"):
        client.infer(ENSEMBLE.name, {"image": column(images.jpeg(), images.jpeg(), b"")})


async def test_the_task_gives_labels(server: TritonServer, client: Client, tmp_path: Path) -> None:
    """Bytes and paths, in their order, the most probable first; the async form gives the same."""
    path = tmp_path / "picture.png"
    path.write_bytes(images.in_colour()["PNG"])
    wanted: list[bytes | Path] = [images.jpeg(), path, images.in_grey()["16-bit PNG"]]
    found = ImageClassifier(client).classify(wanted, top_k=3)
    first = expected(images.jpeg())
    best = np.argsort(-first)[:3]
    assert [label for label, _ in found[0]] == [PROBABILITIES.labels[index] for index in best]
    assert [share for _, share in found[0]] == pytest.approx(first[best].tolist(), abs=2e-6)
    assert [len(classes) for classes in found] == [3, 3, 3]
    async with AsyncClient(f"grpc://{server.grpc_url}") as opened:
        assert await AsyncImageClassifier(opened).classify(wanted, top_k=3) == found


async def test_the_task_names_what_the_server_refused(server: TritonServer, client: Client, tmp_path: Path) -> None:
    """The position in the caller's list and the path, where the server knows neither."""
    path = tmp_path / "notes.txt"
    path.write_text("not an image")
    with pytest.raises(InvalidInput, match=r"images\[2\], .*notes\.txt: .*is no JPEG, PNG, GIF or WEBP"):
        ImageClassifier(client, in_flight=1).classify([images.jpeg(), images.jpeg(), path])
    async with AsyncClient(f"grpc://{server.grpc_url}") as opened:
        with pytest.raises(InvalidInput, match=r"images\[1\]: .*is damaged"):
            await AsyncImageClassifier(opened).classify([images.jpeg(), images.jpeg()[:-2000]])


def test_more_classes_than_there_are(client: Client) -> None:
    """All of them come, and they sum to one."""
    (classes,) = ImageClassifier(client).classify([images.jpeg()], top_k=2000)
    assert len(classes) == CLASSES
    assert sum(share for _, share in classes) == pytest.approx(1, abs=1e-3)


def counted(server: TritonServer, metric: str, model: str) -> int:
    """A counter of a model, by Triton's metrics."""
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    values = [line.rpartition(" ")[2] for line in lines if line.startswith(f'{metric}{{model="{model}"')]
    return int(values[0]) if values else 0


def test_an_image_that_was_seen_comes_out_of_the_cache(server: TritonServer, client: Client) -> None:
    """The second time no step runs, and the answer is the same, whichever form of it is asked for."""
    content = images.encoded(images.picture().rotate(90), "JPEG")
    first = client.infer(ENSEMBLE.name, {"image": column(content)})["probabilities"]
    hits = counted(server, "nv_cache_num_hits_per_model", ENSEMBLE.name)
    ran = counted(server, "nv_inference_count", DECODER.name), counted(server, "nv_inference_count", NET.name)
    second = client.infer(ENSEMBLE.name, {"image": column(content)})["probabilities"]
    (classes,) = ImageClassifier(client).classify([content], top_k=1)
    np.testing.assert_array_equal(second, first)
    assert classes[0][0] == PROBABILITIES.labels[int(first.argmax())]
    assert counted(server, "nv_cache_num_hits_per_model", ENSEMBLE.name) == hits + 2
    assert (counted(server, "nv_inference_count", DECODER.name), counted(server, "nv_inference_count", NET.name)) == ran


def test_the_health_check_looks_behind_the_cache(server: TritonServer, repository: Path) -> None:
    """Images as golden samples; the steps are asked, because the ensemble would answer out of its memory."""
    content = images.jpeg()
    pixels = pixels_of(content, 224, 256)
    image, answer = {"image": column(content)[0]}, {"probabilities": expected(content)}
    samples = {
        DECODER.name: (image, {"pixels": pixels}),
        NET.name: ({"pixels": pixels}, answer),
        ENSEMBLE.name: (image, answer),
    }
    for name, (inputs, outputs) in samples.items():
        path = repository / name / GOLDEN
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(golden_json([inputs], [outputs]))
    line = [sys.executable, "-I", "-S", str(HEALTH_CHECK), f"--url=http://{server.http_url}"]
    done = subprocess.run([*line, f"--repository={repository}"], capture_output=True, text=True, check=False)
    assert done.stdout == f"healthy: {DECODER.name}, {NET.name} answered as expected\n"
    assert done.returncode == 0
