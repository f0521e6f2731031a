"""Seeds in, streams of images out: the system's own step and declarations, in front of a small net."""

from __future__ import annotations

import contextlib
import itertools
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from modelyard_build import pipeline
from modelyard_build.image_figures import RoundedPng, decoded
from modelyard_build.model import Arrays
from modelyard_build.models import image_generator
from modelyard_build.repository import manifest
from modelyard_client import AsyncClient, Client, RetryPolicy
from modelyard_client.errors import ClientError, ConnectionLost, ServerBusy
from modelyard_client.tasks import AsyncImageGenerator, GeneratedImage, ImageGenerator
from modelyard_ops.building import serve_scratch, server_on_free_ports
from modelyard_server.control import load_model, unload_model
from modelyard_server.process import TritonServer
from support.candidates import declare_only
from support.silent import Silent
from support.small_generator import EVALUATED, SIDE, declare, write_small_progan
from support.triton import eventually
from support.vanishing import IDLE, doomed_clients, killed_in_mid_stream, levels_off, pending, work

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[3]
GENERATOR, NET = "image_generator", "image_generator_net"
MAX_STREAMS = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small net's files."""
    return write_small_progan(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The system in small, built and proven; the step with the project's own settings."""
    folder = tmp_path_factory.mktemp("model_repository")
    own = (ROOT / "model_repository" / GENERATOR / "config.pbtxt").read_text()
    (folder / GENERATOR).mkdir()
    (folder / GENERATOR / "config.pbtxt").write_text(own.replace('"512"', '"32"'))
    with pytest.MonkeyPatch.context() as patch:
        models = declare(tmp_path_factory.mktemp("weights"))
        declare_only(patch, *models, file="models/image_generator.py")
        pipeline.build([], folder, serve_scratch, Silent())
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    """An embedded Triton over it."""
    with server_on_free_ports(repository) as running:
        yield running


@pytest.fixture
def client(server: TritonServer) -> Iterator[Client]:
    """A client of it."""
    with Client(f"grpc://{server.grpc_url}", deadline=30) as opened:
        yield opened


def request(**values: int) -> Arrays:
    """Each input int64 [1]."""
    return {name: np.array([value], np.int64) for name, value in values.items()}


def made(client: Client, seed: int, count: int, first_index: int = 0) -> list[GeneratedImage]:
    """All of them."""
    return list(ImageGenerator(client).generate(seed=seed, count=count, first_index=first_index))


def calls(server: TritonServer) -> int:
    """How many images the net has made so far, by Triton's metrics."""
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    (value,) = [line.rpartition(" ")[2] for line in lines if line.startswith(f'nv_inference_count{{model="{NET}"')]
    return int(value)


def settled(read: Callable[[], int]) -> int:
    """A number once it has not changed for a while."""
    until, last = time.monotonic() + 20, read()
    while time.monotonic() < until:
        time.sleep(0.3)
        before, last = last, read()
        if before == last:
            return last
    raise AssertionError(f"it still grows: {last}")


def test_the_build_proves_and_evaluates_it(repository: Path) -> None:
    """Images are PyTorch's but for rounding, and one is not like the other."""
    found = manifest.read(repository / GENERATOR / "1")
    assert set(found.steps) == {NET}
    assert found.metrics["items"] == EVALUATED
    assert found.metrics["served"] == pytest.approx(found.metrics["pytorch"], abs=1e-3)
    assert found.metrics["served"]["SSIM to PyTorch"] > 0.999
    assert found.metrics["served"]["diversity"] > 0.01


def test_images_come_in_order_and_are_pytorchs(client: Client, weights: dict[str, Path]) -> None:
    """Seed, index and file of each; PyTorch's pixels, give or take a level."""
    found = made(client, seed=3, count=5, first_index=2)
    assert [(image.seed, image.index) for image in found] == [(3, index) for index in range(2, 7)]
    assert decoded(image.png for image in found).shape == (5, SIDE, SIDE, 3)
    expected = image_generator.reference(weights, image_generator.asked([3], [2], [5]))["image"][0, :, 0]
    assert [RoundedPng(image) for image in expected] == [image.png for image in found]
    assert len({image.png for image in found}) == 5


async def test_the_async_form_gives_the_same(server: TritonServer, client: Client) -> None:
    """Both forms of the task, and the first index where it is left out."""
    async with AsyncClient(f"grpc://{server.grpc_url}") as opened:
        found = [image async for image in AsyncImageGenerator(opened).generate(seed=8, count=3)]
    assert found == made(client, seed=8, count=3)
    plain = [result["index"][0] for result in client.stream(GENERATOR, request(seed=8, count=3))]
    assert plain == [0, 1, 2]


def test_a_seed_gives_the_same_bytes_whatever_else_runs(server: TritonServer, client: Client) -> None:
    """Alone and among 16 clients, one image or many, from the first or from the middle."""
    alone = {seed: [image.png for image in made(client, seed, 12)] for seed in range(4)}

    def ask(number: int) -> bool:
        seed, first = number % 4, number % 12
        with Client(f"grpc://{server.grpc_url}") as own:
            found = made(own, seed, 12 - first if number % 3 else 1, first)
        return [image.png for image in found] == alone[seed][first : first + len(found)]

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(64)))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"seed": 1, "count": 0}, "count is 0; ask for 1 image or more"),
        ({"seed": 1, "count": -5}, "count is -5"),
        ({"seed": 1, "count": 1_000_000}, "count is 1000000; at most 1000 images .* first_index 0, 1000, 2000"),
        ({"seed": -1, "count": 1}, "seed is -1; it is a whole number from 0 to 9223372036854775807"),
        ({"seed": 1, "count": 1, "first_index": -1}, "first_index is -1"),
        ({"seed": 1, "count": 2, "first_index": 2**63 - 2}, "first_index is 9223372036854775806; with 2 images"),
        ({"count": 1}, "seed"),
    ],
)
def test_a_bad_request_fails_alone(client: Client, inputs: dict[str, int], words: str) -> None:
    """With what is wrong and what may be asked; the stream beside it goes on."""
    beside = ImageGenerator(client).generate(seed=1, count=20)
    first = next(beside)
    with pytest.raises(ClientError, match=words):
        list(client.stream(GENERATOR, request(**inputs)))
    assert [first, *beside] == made(client, seed=1, count=20)


def test_a_closed_stream_stops_the_work(server: TritonServer, client: Client) -> None:
    """After 2 of 1,000 images: no more calls than were under way."""
    before = calls(server)
    with contextlib.closing(ImageGenerator(client).generate(seed=1, count=1000)) as images:
        assert len(list(itertools.islice(images, 2))) == 2
    assert settled(lambda: calls(server)) - before < 300
    assert made(client, seed=1, count=1)


def test_clients_that_vanish_leave_nothing_behind(server: TritonServer, client: Client) -> None:
    """200 of them, an image into their streams: the net rests, places are free, and memory does not grow."""
    # Those that went away a moment ago may still have their places.
    patient = RetryPolicy(attempts=20)

    def vanish(number: int) -> None:
        with Client(f"grpc://{server.grpc_url}", retry=patient) as own:
            assert next(ImageGenerator(own).generate(seed=number, count=1000)).seed == number

    def wave() -> None:
        with ThreadPoolExecutor(32) as threads:
            list(threads.map(vanish, range(200)))
        settled(lambda: calls(server))

    assert levels_off(server, wave, most=20)
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(contextlib.closing(ImageGenerator(client).generate(seed=number, count=1000)))
            for number in range(8)
        ]
        assert [next(stream).seed for stream in streams] == list(range(8))


def test_more_streams_than_allowed_are_refused_at_once(server: TritonServer, client: Client) -> None:
    """With how many there may be; when they end their places are free again."""
    generator = ImageGenerator(client)
    with contextlib.ExitStack() as stack:
        for seed in range(MAX_STREAMS):
            next(stack.enter_context(contextlib.closing(generator.generate(seed=seed, count=1000))))
        impatient = stack.enter_context(Client(f"grpc://{server.grpc_url}", retry=RetryPolicy(attempts=1)))
        with pytest.raises(ServerBusy, match="64 requests are being answered, as many as max_streams allows"):
            next(ImageGenerator(impatient).generate(seed=3))
    settled(lambda: calls(server))
    assert len(made(client, seed=3, count=3)) == 3


def test_a_net_that_goes_away_is_told(server: TritonServer, client: Client) -> None:
    """In mid-stream, with its name; once it is back, images come again."""
    with contextlib.closing(ImageGenerator(client).generate(seed=5, count=1000)) as stream:
        next(stream)
        unload_model(server.http_url, NET)
        try:
            with pytest.raises(ClientError, match=NET):
                list(stream)
        finally:
            load_model(server.http_url, NET)
    assert len(made(client, seed=5, count=2)) == 2


def test_a_killed_server_is_told_in_mid_stream(server: TritonServer) -> None:
    """At once, with how much had come; no process of the models' stays, and a new server goes on where it broke off."""
    error, came = killed_in_mid_stream(server, lambda client: ImageGenerator(client).generate(seed=6, count=1000))
    assert type(error) is ConnectionLost
    assert f"{came} responses had come" in str(error)
    with Client(f"grpc://{server.grpc_url}", deadline=30) as again:
        assert [image.index for image in made(again, seed=6, count=2, first_index=came)] == [came, came + 1]


@pytest.mark.slow
def test_200_clients_of_killed_processes_leave_nothing(server: TritonServer, client: Client) -> None:
    """50 at a time, in mid-stream: another gets its images beside them, then no work is left; memory does not grow."""
    url = f"grpc://{server.grpc_url}"

    def wave() -> None:
        with doomed_clients(url, GENERATOR, [{"seed": seed, "count": 1000} for seed in range(50)]):
            assert len(made(client, seed=99, count=2)) == 2
        assert eventually(lambda: not pending(server))
        assert eventually(lambda: work(server) < IDLE)

    assert levels_off(server, wave, most=20)
