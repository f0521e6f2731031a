"""The spoken clips as what each model of `speech` takes."""

from __future__ import annotations

import functools
import io
import wave
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from modelyard_build.datasets import spoken_clips
from modelyard_build.model import Array, Arrays
from modelyard_build.nets.whisper_assets import WEIGHTS

SAMPLE_RATE, CHUNK = 16_000, 512
# Clips that are encoded in PyTorch for the decoder's proof: windows of 30 s, each of them a second of work.
ENCODED = 4


def clip_files(files: Mapping[str, Path]) -> list[bytes]:
    """The clips that have a transcript, in its order."""
    return [files[name].read_bytes() for name in spoken_clips.TRANSCRIPTS]


def samples_of(content: bytes) -> Array:
    """A WAV file as the models hear it: float32 [samples]."""
    from modelyard_build.steps.speech import audio

    return np.concatenate(list(audio.wav(content).blocks()))


def example_chunks(files: Mapping[str, Path], batch: int) -> Arrays:
    """`audio`, float32 [batch, 512]: the chunks of a clip, in order, again and again."""
    return {"audio": np.stack(list(islice(cycle(_chunks(files)), batch)))}


def longer_requests(files: Mapping[str, Path]) -> Sequence[Arrays]:
    """The same sequence in requests of ten chunks, and one request alone."""
    chunks = _chunks(files)
    tens = chunks[: len(chunks) // 10 * 10].reshape(-1, 10 * CHUNK)
    return [{"audio": tens}, {"audio": chunks[40:41]}]


def _chunks(files: Mapping[str, Path]) -> Array:
    samples = samples_of(clip_files(files)[0])
    chunks: Array = samples[: len(samples) // CHUNK * CHUNK].reshape(-1, CHUNK)
    return chunks


def example_log_mels(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """`log_mel`, float32 [batch, 80, 3000], of the clips."""
    from modelyard_build.steps.speech import mel

    clips = islice(cycle(clip_files(files)), batch)
    return {"log_mel": np.stack([mel.log_mel(samples_of(content)) for content in clips])}


def calibration_log_mels(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """The same of clips that follow one another in a window, each time in another order: no clip stands there alone."""
    from modelyard_build.steps.speech import mel

    generator = np.random.default_rng(5)
    clips = [samples_of(content) for content in clip_files(files)]
    orders = [generator.permutation(len(clips)) for _ in range(batch)]
    joined = [np.concatenate([clips[place] for place in order])[: mel.SECONDS * mel.SAMPLE_RATE] for order in orders]
    return {"log_mel": np.stack([mel.log_mel(samples) for samples in joined])}


def example_states(files: Mapping[str, Path], batch: int) -> Arrays:
    """The states of a few clips, each in turn without a wish, and with its language and a beam."""
    encoded = _encoded(*(files[name] for name in WEIGHTS), *(files[name] for name in spoken_clips.ASSETS))
    # The second time round a clip has what it had not the first time.
    wishes = [(place + place // ENCODED) % 2 for place in range(batch)]
    return {
        "states": np.stack(list(islice(cycle(encoded), batch))),
        "seconds": np.full((batch, 1), 30, np.float32),
        "language": np.array([[b"en" if wish else b""] for wish in wishes], np.object_),
        "beam_size": np.array([[3 if wish else 1] for wish in wishes], np.int32),
    }


@functools.cache
def _encoded(*paths: Path) -> tuple[Array, ...]:
    import torch

    from modelyard_build.nets import whisper

    files = dict(zip([*WEIGHTS, *spoken_clips.ASSETS], paths, strict=True))
    log_mels = example_log_mels(files, ENCODED, {})["log_mel"]
    with torch.inference_mode():
        return tuple(whisper.encoder_of(whisper.load_state(files))(torch.from_numpy(log_mels)).numpy())


def example_audio(files: Mapping[str, Path], batch: int) -> Arrays:
    """`audio`, BYTES [batch, 1]: the clips' files; `language`, BYTES [batch, 1]."""
    return _asked(list(islice(cycle(clip_files(files)), batch)))


def one_recording(files: Mapping[str, Path]) -> Sequence[Arrays]:
    """All clips in one file, longer than a window, 24 kHz and in stereo; its language is to be found out."""
    import soxr

    pause = np.zeros(8_000, np.float32)
    samples = np.concatenate([part for content in clip_files(files) for part in (samples_of(content), pause)])
    recording = soxr.resample(samples, SAMPLE_RATE, 24_000)
    return [{"audio": np.array([[as_wav(recording, 24_000, channels=2)]], np.object_)}]


def as_wav(samples: Array, rate: int, channels: int) -> bytes:
    """A WAV file of 16 bits, the same in each channel."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        frames = (samples.clip(-1, 1) * 32767).astype("<i2")
        writer.writeframes(np.repeat(frames, channels).tobytes())
    return file.getvalue()


def evaluation_data(files: Mapping[str, Path]) -> tuple[Arrays, Array]:
    """Every clip, and what is said in it."""
    return _asked(clip_files(files)), np.array(list(spoken_clips.TRANSCRIPTS.values()))


def _asked(contents: Sequence[bytes]) -> Arrays:
    return {
        "audio": np.array(contents, np.object_).reshape(-1, 1),
        "language": np.full((len(contents), 1), b"en", np.object_),
    }
