"""`speech` in small, built, proven and served for real: its own declarations on a Whisper of random weights."""

from __future__ import annotations

import shutil
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from modelyard_build import pipeline
from modelyard_build.assets import fetch
from modelyard_build.datasets.spoken_inputs import samples_of
from modelyard_build.errors import AssetUnavailable
from modelyard_build.model import Array, PythonModel
from modelyard_build.sources import pinned_assets
from modelyard_client import AsyncClient, Client
from modelyard_client.errors import ClientClosed, ClientError, ConnectionLost, InvalidInput, SequenceLost
from modelyard_client.tasks import AsyncSpeechRecogniser, AsyncVoiceActivity, Segment, SpeechRecogniser, VoiceActivity
from modelyard_ops.building import serve_scratch, server_on_free_ports
from modelyard_server.process import TritonServer
from support.candidates import declare_only
from support.silent import Silent
from support.small_speech import CARD, SENTENCE, declare
from support.sounds import encoded, wav_of
from support.triton import eventually
from support.vanishing import IDLE, doomed_clients, levels_off, pending, work

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Running:
    """The system as it was built, and a Triton over it."""

    whole: PythonModel
    result: pipeline.Result
    server: TritonServer

    def client(self) -> Client:
        """Over gRPC."""
        return Client(f"grpc://{self.server.grpc_url}", deadline=60)

    def asked_of(self, model: str) -> int:
        """How many requests a model has answered, by Triton's metrics."""
        with urllib.request.urlopen(f"http://{self.server.metrics_url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.startswith(f'nv_inference_request_success{{model="{model}"')]
        return int(found[0].rpartition(" ")[2]) if found else 0

    def process(self, model: str) -> psutil.Process:
        """In which a step runs."""
        children = psutil.Process(self.server.state.pid).children(recursive=True)
        (found,) = [each for each in children if any(f"/{model}/" in word for word in each.cmdline())]
        return found


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Built once."""
    models = declare(tmp_path_factory.mktemp("weights"))
    repository = tmp_path_factory.mktemp("model_repository")
    whole = models[-1]
    assert isinstance(whole, PythonModel)
    with pytest.MonkeyPatch.context() as patch:
        declare_only(patch, *models, file="models/speech.py")
        try:
            results = pipeline.build([], repository, serve_scratch, Silent())
        except AssetUnavailable as error:
            pytest.skip(str(error))
    write_slow(repository)
    with server_on_free_ports(repository) as server:
        yield Running(whole, results[-1], server)


def write_slow(repository: Path) -> None:
    """`speech` before a decoder that believes nothing it wrote, and tries again and again: a window takes long."""
    again = "0" + ", 1" * 1500
    changes = {
        "speech_decoder": {
            '"temperatures", value: { string_value: "0"': f'"temperatures", value: {{ string_value: "{again}"',
            '"logprob_threshold", value: { string_value: "-1.0"': '"logprob_threshold", value: { string_value: "1"',
        },
        "speech": {'value: { string_value: "speech_decoder"': 'value: { string_value: "slow_speech_decoder"'},
    }
    for name, replaced in changes.items():
        copy = shutil.copytree(repository / name, repository / f"slow_{name}")
        text = (copy / "config.pbtxt").read_text()
        for before, after in replaced.items():
            assert text.count(before) == 1
            text = text.replace(before, after)
        (copy / "config.pbtxt").write_text(text)


def segments_of(system: Running, content: bytes) -> list[Segment]:
    """What the reference makes of a file."""
    audio = np.array([[content]], np.object_)
    found = system.whole.reference(fetch(pinned_assets(system.whole), print), {"audio": audio})
    rows = zip(*(found[name][0, :, 0] for name in ("start", "end", "text", "language")), strict=True)
    return [Segment(float(start), float(end), text.decode(), code.decode()) for start, end, text, code in rows]


def test_the_build_proves_and_evaluates_it(system: Running) -> None:
    """Word errors of transformers and as served are the same."""
    assert system.result.built
    assert system.result.metrics["pytorch"] == system.result.metrics["served"]


async def test_the_task_streams_what_transformers_writes(system: Running) -> None:
    """Of a file, of samples and their rate; the async form too."""
    expected = segments_of(system, SENTENCE.read_bytes())
    assert expected
    samples = samples_of(SENTENCE.read_bytes())
    with system.client() as client:
        task = SpeechRecogniser(client)
        assert list(task.transcribe(SENTENCE)) == expected
        assert [segment.text for segment in task.transcribe((samples, 16_000))]
        assert list(task.transcribe(SENTENCE, language=expected[0].language, beam_size=1)) == expected
    async with (
        AsyncClient(f"grpc://{system.server.grpc_url}", deadline=60) as opened,
        aclosing(AsyncSpeechRecogniser(opened).transcribe(SENTENCE)) as found,
    ):
        assert [segment async for segment in found] == expected


def test_silence_is_an_empty_stream(system: Running) -> None:
    """No segment and no error; the net is not even asked."""
    asked = system.asked_of("speech_encoder")
    with system.client() as client:
        assert list(SpeechRecogniser(client).transcribe((np.zeros(160_000, np.int16), 16_000))) == []
        assert list(SpeechRecogniser(client).transcribe((np.zeros(100, np.int16), 16_000))) == []
    assert system.asked_of("speech_encoder") == asked


def test_bad_sound_fails_alone(system: Running) -> None:
    """Each with its sentence; those beside it get their segments."""
    samples = samples_of(CARD.read_bytes()).astype(np.float64)
    broken = np.where(np.arange(len(samples)) == 4000, np.nan, samples)
    good = {
        CARD.read_bytes(): "as it is",
        wav_of(encoded(samples, 8, 1), 16_000, 1, 8): "8 bits",
        wav_of(encoded(np.repeat(samples, 6), 32, 3), 96_000, 1, 32, 3): "96 kHz",
    }
    bad = {
        b"RIFF": "audio is no WAV file",
        CARD.read_bytes()[:-1000]: "audio is cut off",
        b"ID3" + b"\0" * 99: "audio is an MP3 file",
        wav_of(encoded(broken, 32, 3), 16_000, 1, 32, 3): "audio holds NaN or infinity, first at 0.250 s",
        wav_of(bytes(8_000 * 7_201), 8_000, 1, 8): "audio is 7201.0 s long, at most 7200 s are read",
    }

    def transcribe(content: bytes) -> list[Segment] | ClientError:
        with system.client() as client:
            try:
                return list(SpeechRecogniser(client).transcribe(content))
            except ClientError as error:
                return error

    with ThreadPoolExecutor(8) as threads:
        answers = dict(zip([*bad, *good], threads.map(transcribe, [*bad, *good]), strict=True))
    for content, what in good.items():
        assert answers[content] == segments_of(system, content), what
    for content, words in bad.items():
        assert isinstance(answers[content], ClientError)
        assert words in str(answers[content])


def test_wishes_out_of_range(system: Running) -> None:
    """The decoder's words reach the caller."""
    with system.client() as client:
        with pytest.raises(ClientError, match="language is 'xx', expected a code such as en, de"):
            list(SpeechRecogniser(client).transcribe(CARD, language="xx"))
        with pytest.raises(ClientError, match="beam_size is 99, expected 1 to 8"):
            list(SpeechRecogniser(client).transcribe(CARD, beam_size=99))


def test_a_caller_that_goes_stops_the_work(system: Running) -> None:
    """Ten minutes of speech, left after the first segment: no more than a few windows are decoded."""
    samples = np.tile(samples_of(SENTENCE.read_bytes()), 180)
    with system.client() as client:
        before = system.asked_of("speech_decoder")
        with closing(SpeechRecogniser(client).transcribe((samples, 16_000))) as segments:
            next(segments)
        time.sleep(2)
        left = system.asked_of("speech_decoder")
        time.sleep(1)
        assert system.asked_of("speech_decoder") == left
        # 20 windows of 30 s, each decoded once at least.
        assert left - before < 20
        assert list(SpeechRecogniser(client).transcribe(CARD)) == segments_of(system, CARD.read_bytes())


def test_a_caller_that_goes_stops_the_decoder_within_its_loop(system: Running) -> None:
    """Triton 2.51 cancels no request that a model sends to another one: the work ends all the same."""
    decoder = system.process("slow_speech_decoder")

    def busy() -> float:
        return sum(decoder.cpu_times()[:2])

    def idle() -> bool:
        before = busy()
        time.sleep(0.5)
        return busy() - before < 0.02

    before = busy()
    with ThreadPoolExecutor(1) as thread:
        with system.client() as client:
            answer = thread.submit(list, SpeechRecogniser(client, "slow_speech").transcribe(CARD))
            assert eventually(lambda: busy() - before > 0.5)
        assert isinstance(answer.exception(), ClientClosed)
    assert eventually(idle)
    # Every try takes some milliseconds, and there are 1,500 of them.
    assert busy() - before < 5
    assert pending(system.server) == 0


def test_callers_that_vanish_leave_nothing(system: Running) -> None:
    """In mid-stream or waiting: no request is left, others are served, and memory stops growing."""
    samples, expected = np.tile(samples_of(SENTENCE.read_bytes()), 160), segments_of(system, CARD.read_bytes())

    def vanish(number: int) -> None:
        with system.client() as client, closing(SpeechRecogniser(client).transcribe((samples, 16_000))) as segments:
            if number % 2:
                next(segments)

    def wave() -> None:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(vanish, range(8)))
        assert eventually(lambda: pending(system.server) == 0)
        with system.client() as client:
            assert list(SpeechRecogniser(client).transcribe(CARD)) == expected

    # Two of its clips, which travel in 16 bits; sixteen have come in two waves.
    assert levels_off(system.server, wave, most=2 * samples.size * 2 / 2**20)


@pytest.mark.slow
def test_200_clients_of_killed_processes_leave_nothing(system: Running) -> None:
    """50 at a time, four in mid-stream and the others waiting: another is answered, and no work or memory is left."""
    samples = np.tile(samples_of(SENTENCE.read_bytes()), 20)
    sound = wav_of(encoded(samples, 8, 1), 16_000, 1, 8)
    url, expected = f"grpc://{system.server.grpc_url}", segments_of(system, CARD.read_bytes())

    def wave() -> None:
        with doomed_clients(url, "speech", [{"audio": sound.decode("latin-1")}] * 50, begun=4):
            pass
        with system.client() as client:
            assert list(SpeechRecogniser(client).transcribe(CARD)) == expected
        assert eventually(lambda: not pending(system.server))
        assert eventually(lambda: work(system.server) < IDLE)

    # A quarter of its clips; a hundred have come in two waves.
    assert levels_off(system.server, wave, most=12 * len(sound) / 2**20)


@pytest.mark.slow
def test_an_hour_takes_no_more_than_its_bytes(system: Running) -> None:
    """115 MB of sound: what stays with the step is the sound itself and what Triton's way to it takes, once."""
    samples = (np.tile(samples_of(SENTENCE.read_bytes()), 1200)[: 3600 * 16_000] * 32767).astype(np.int16)
    step, largest, done = system.process("speech"), [0.0], threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            largest.append(step.memory_info().rss / 2**20)

    before = step.memory_info().rss / 2**20
    watching = threading.Thread(target=look)
    watching.start()
    try:
        with Client(f"grpc://{system.server.grpc_url}", deadline=1500) as client:
            starts = [segment.start for segment in SpeechRecogniser(client).transcribe((samples, 16_000))]
    finally:
        done.set()
        watching.join()
    after = step.memory_info().rss / 2**20
    print(f"MiB of the step: {before:.0f} before, {max(largest):.0f} at most, {after:.0f} after")
    assert starts == sorted(starts)
    assert starts[-1] > 3500
    assert max(largest) - before < 600


def probabilities_of(system: Running, samples: Array) -> Array:
    """PyTorch's, of whole chunks."""
    from modelyard_build.models.speech import voice_activity

    filled = np.pad(samples, (0, 512 - len(samples) % 512))
    files = fetch(pinned_assets(system.whole), print)
    row: Array = voice_activity(files, {"audio": filled[None]})["speech_probability"][0]
    return row


async def test_voices_side_by_side(system: Running) -> None:
    """Blocks of any size, many sequences at a time, each with its own state: PyTorch's probabilities."""
    samples = samples_of(SENTENCE.read_bytes())
    expected = probabilities_of(system, samples)

    def listen(size: int) -> list[float]:
        with system.client() as client:
            return list(
                VoiceActivity(client).probabilities(samples[at : at + size] for at in range(0, len(samples), size))
            )

    with ThreadPoolExecutor(8) as threads:
        for found in threads.map(listen, [800, 1600, 1601, 3000, 5000, 16_000, 700, 512]):
            np.testing.assert_allclose(found, expected, atol=1e-5)

    async def blocks() -> AsyncIterator[Array]:
        yield (samples * 32768).astype(np.int16)

    async with AsyncClient(f"grpc://{system.server.grpc_url}", deadline=60) as opened:
        found = [each async for each in AsyncVoiceActivity(opened).probabilities(blocks())]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_bad_chunk_leaves_the_sequence_as_it_was(system: Running) -> None:
    """Its request fails, the next one goes on; a sequence that was never started is refused."""
    samples = samples_of(SENTENCE.read_bytes())[: 20 * 512].reshape(20, 1, 512)
    with system.client() as client:
        with client.sequence("speech_vad") as sequence:
            first = [sequence.infer({"audio": each})["speech_probability"] for each in samples[:10]]
            for bad, words in ((np.zeros((1, 500)), "multiple of 512"), (np.full((1, 512), 300), "expected -1 to 1")):
                with pytest.raises(InvalidInput, match=words):
                    sequence.infer({"audio": bad.astype(np.float32)})
            rest = [sequence.infer({"audio": each})["speech_probability"] for each in samples[10:]]
        found = np.concatenate([*first, *rest]).reshape(-1)
        np.testing.assert_allclose(found, probabilities_of(system, samples.reshape(-1))[:20], atol=1e-5)
        with pytest.raises((SequenceLost, InvalidInput)):
            client.infer("speech_vad", {"audio": samples[0]}, sequence_id=987_654)


def test_a_server_that_dies_in_mid_stream_is_told(system: Running) -> None:
    """With how much had come; the same client asks the one that is started anew."""
    samples = np.tile(samples_of(SENTENCE.read_bytes()), 180)
    with system.client() as client:
        with closing(SpeechRecogniser(client).transcribe((samples, 16_000))) as segments:
            next(segments)
            for process in psutil.Process(system.server.state.pid).children():
                process.kill()
                process.wait()
            with pytest.raises(ConnectionLost, match=r"responses? had come"):
                list(segments)
        system.server.stop()
        system.server.start()
        system.server.wait_ready()
        assert list(SpeechRecogniser(client).transcribe(CARD)) == segments_of(system, CARD.read_bytes())
