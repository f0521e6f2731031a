"""X-rays in, what comes first out: the project's own configs and steps around a small net, urgent before routine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modelyard_build.datasets.chest_xrays import phantoms
from modelyard_build.model import Array, Arrays
from modelyard_build.models.imaging_triage import DECISION, ENSEMBLE, MAX_BATCH_SIZE, SIZE, URGENT_THRESHOLD, decided
from modelyard_build.nets.pixels import stretched_pixels_of
from modelyard_client import AsyncClient, Client
from modelyard_client.errors import ClientError, InferenceFailed, InvalidInput
from modelyard_client.tasks import AsyncImagingTriage, ImagingTriage
from modelyard_ops.building import server_on_free_ports
from modelyard_server.process import TritonServer
from support import images
from support.small_triage import logits, write_small_triage

pytestmark = pytest.mark.live

CHESTS = tuple(phantoms(4))
# Enough for a dozen batches: what is sent when the first is answered finds most of them waiting.
ROUTINE = 12 * MAX_BATCH_SIZE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """An embedded Triton over the four models."""
    with server_on_free_ports(write_small_triage(tmp_path_factory.mktemp("model_repository"))) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: TritonServer) -> Iterator[Client]:
    """A client of it."""
    with Client(f"grpc://{server.grpc_url}", deadline=60) as opened:
        yield opened


def column(*contents: bytes) -> Array:
    """BYTES [n, 1]."""
    return np.array(contents, dtype=np.object_).reshape(-1, 1)


def expected(*contents: bytes) -> Arrays:
    """What the small net and the decision give, computed here."""
    scores = logits(np.stack([stretched_pixels_of(content, SIZE) for content in contents]))
    return decided({}, {"logits": scores})


def test_any_of_the_outputs_may_be_asked_for(client: Client) -> None:
    """Triton prunes the steps of an ensemble by what is asked for; each output alone comes as with the others."""
    wanted = expected(CHESTS[0])
    for name, array in wanted.items():
        found = client.infer(ENSEMBLE.name, {"image": column(CHESTS[0])}, outputs=[name])
        assert found.keys() == {name}
        assert found[name].shape == array.shape


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_an_xray_gets_its_decision(server: TritonServer, protocol: str) -> None:
    """Every output of the steps, as Pillow, onnxruntime and numpy compute it, over both protocols."""
    url = server.grpc_url if protocol == "grpc" else server.http_url
    with Client(f"{protocol}://{url}") as client:
        found = client.infer(ENSEMBLE.name, {"image": column(*CHESTS)})
    wanted = expected(*CHESTS)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        if array.dtype == np.object_:
            assert found[name].tolist() == array.tolist()
        else:
            np.testing.assert_allclose(found[name], array, atol=1e-4)


async def test_the_task_gives_one_result_an_xray(server: TritonServer, client: Client, tmp_path: Path) -> None:
    """Bytes and paths, urgent or not, in their order; the async form gives the same; a result says what it is."""
    path = tmp_path / "chest.png"
    path.write_bytes(CHESTS[1])
    found = ImagingTriage(client).triage([CHESTS[0], path])
    wanted = expected(*CHESTS[:2])
    assert [triage.label.encode() for triage in found] == wanted["label"][:, 0].tolist()
    assert [triage.recommendation.encode() for triage in found] == wanted["recommendation"][:, 0].tolist()
    assert [triage.probability for triage in found] == pytest.approx(wanted["probabilities"][:, 1].tolist(), abs=1e-4)
    assert found[0].urgent_threshold == pytest.approx(URGENT_THRESHOLD)
    assert all("demonstration, not medical" in text for text in (repr(found[0]), str(found[0])))
    async with AsyncClient(f"grpc://{server.grpc_url}") as opened:
        assert await AsyncImagingTriage(opened).triage([CHESTS[0], path], urgent=True) == found


async def test_urgent_requests_overtake_routine_ones(server: TritonServer) -> None:
    """Under load an urgent X-ray is answered before most of those that came before it, a routine one after them."""
    answered: list[str] = []

    async def ask(triage: AsyncImagingTriage, name: str, urgent: bool) -> None:
        await triage.triage([CHESTS[0]], urgent=urgent)
        answered.append(name)

    async with AsyncClient(f"grpc://{server.grpc_url}", deadline=120) as connected:
        # It knows its model now: a request that first had to ask would come after those that it is to come before.
        client = AsyncImagingTriage(connected)
        await client.triage([CHESTS[0]])
        waiting = [asyncio.create_task(ask(client, "waiting", urgent=False)) for _ in range(ROUTINE)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(ask(client, "routine", urgent=False), ask(client, "urgent", urgent=True))
        await asyncio.gather(*waiting)
    assert len(answered) == ROUTINE + 2
    assert answered.index("urgent") < ROUTINE / 2
    # As the last, but for those of its own batch.
    assert answered.index("routine") > ROUTINE - MAX_BATCH_SIZE


def test_bad_xrays_fail_alone(server: TritonServer) -> None:
    """Each gets its sentence through the whole ensemble, and those beside it their answers."""
    bad = {name: images.bad()[name] for name in ("empty", "text", "truncated JPEG", "too many pixels")}
    one = images.encoded(Image.new("L", (1, 1)), "PNG")
    bad["a single pixel"] = (one, "has 1 x 1 pixels, at least 150 are needed on the shorter side")
    asked = [item for content, words in bad.values() for item in ((CHESTS[2], ""), (content, words))]

    def infer(content: bytes) -> Array | ClientError:
        with Client(f"grpc://{server.grpc_url}") as client:
            try:
                return client.infer(ENSEMBLE.name, {"image": column(content)})["recommendation"]
            except ClientError as error:
                return error

    with ThreadPoolExecutor(len(asked)) as threads:
        answers = list(threads.map(infer, [content for content, _ in asked]))
    right = expected(CHESTS[2])["recommendation"].tolist()
    for (_, words), answer in zip(asked, answers, strict=True):
        if words:
            assert isinstance(answer, InvalidInput)
            assert words in str(answer)
        else:
            assert isinstance(answer, np.ndarray)
            assert answer.tolist() == right


@pytest.mark.parametrize("name", ["CMYK JPEG", "animated GIF", "EXIF orientation 6", "PNG with a palette"])
def test_odd_files_are_read(client: Client, name: str) -> None:
    """What a scanner or a telephone makes of an X-ray is decided on like any other."""
    (triage,) = ImagingTriage(client).triage([images.in_colour()[name]])
    assert sum(triage.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_the_task_names_what_was_refused(client: Client) -> None:
    """The position in the caller's list, where the server knows none."""
    with pytest.raises(InvalidInput, match=r"images\[1\]: .*is no JPEG, PNG, GIF or WEBP"):
        ImagingTriage(client, in_flight=1).triage([CHESTS[0], b"not an X-ray"])


def test_scores_that_are_no_numbers_are_never_routine(server: TritonServer, client: Client) -> None:
    """The request fails, which a sender notices; those beside it are decided."""
    good = np.array([[0, 9]], np.float32)

    def infer(scores: Array) -> Array:
        return client.infer(DECISION.name, {"logits": scores})["recommendation"]

    with ThreadPoolExecutor(3) as threads:
        first, broken, last = [threads.submit(infer, scores) for scores in (good, good * np.nan, good)]
        with pytest.raises(InferenceFailed, match=r"image 0: the scores are \[nan, nan\].*Nothing is decided"):
            broken.result()
    assert first.result().tolist() == last.result().tolist() == [[b"urgent"]]
