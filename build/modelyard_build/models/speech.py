"""`speech`: sound in, timed segments of text out, streamed (silero-vad and whisper-base)."""

from __future__ import annotations

import functools
import io
import json
import wave
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard_build import steps
from modelyard_build.assets import Asset, LocalAsset
from modelyard_build.datasets import spoken_clips
from modelyard_build.model import (
    Array,
    Arrays,
    Axis,
    DynamicBatching,
    Evaluation,
    Model,
    PythonModel,
    SequenceBatching,
    Tensor,
)
from modelyard_build.nets import silero_vad_assets, whisper_assets
from modelyard_build.rounding import joined_rows

if TYPE_CHECKING:
    from torch import nn

STEPS = Path(steps.__path__[0]) / "speech"
SAMPLE_RATE, CHUNK, MAX_CHUNKS = 16_000, 512, 320
BANDS, MEL_FRAMES, FRAMES, WIDTH = 80, 3000, 1500, 512
MAX_BATCH_SIZE, MAX_TOKENS, MAX_BEAM_SIZE = 4, 224, 8
CLIPS: Mapping[str, Asset] = spoken_clips.ASSETS
LOG_MEL = Tensor("log_mel", "FP32", (BANDS, MEL_FRAMES))
STATES = Tensor("states", "FP32", (FRAMES, WIDTH))
LANGUAGE = Tensor("language", "BYTES", (1,), optional=True)
BEAM_SIZE = Tensor("beam_size", "INT32", (1,), optional=True)
SEGMENTS = Axis("segments", 0, MAX_TOKENS)
# Encoded in PyTorch for the decoder's proof: real windows of 30 s, each of them a second of work.
ENCODED = 4


def parts(*names: str) -> dict[str, Asset]:
    """Files of the steps that lie beside a model.py."""
    return {name: LocalAsset(STEPS / name) for name in names}


def clip_files(files: Mapping[str, Path]) -> list[bytes]:
    """The clips that have a transcript, in its order."""
    return [files[name].read_bytes() for name in spoken_clips.TRANSCRIPTS]


def samples_of(content: bytes) -> Array:
    """A WAV file as the models hear it: float32 [samples]."""
    from modelyard_build.steps.speech import audio

    return np.concatenate(list(audio.wav(content).blocks()))


# --- Voice activity ---


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


def voice_activity(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What PyTorch says of the requests of one sequence."""
    return _voice_activity(files, inputs, double=False)


def exact_voice_activity(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """The same in float64."""
    return _voice_activity(files, inputs, double=True)


def _voice_activity(files: Mapping[str, Path], inputs: Arrays, double: bool) -> Arrays:
    import torch

    from modelyard_build.nets import silero_vad

    net = silero_vad.load_silero_vad(files)
    samples = torch.from_numpy(inputs["audio"].reshape(-1))
    found = silero_vad.probabilities(net.double() if double else net, samples.double() if double else samples)
    return {"speech_probability": found.numpy().reshape(len(inputs["audio"]), -1)}


VAD = PythonModel(
    name="speech_vad",
    summary="silero-vad: a voice in chunks of 512 samples in, the probability of speech in each out",
    source=STEPS / "vad.py",
    inputs=(Tensor("audio", "FP32", (Axis("samples", CHUNK, MAX_CHUNKS * CHUNK),)),),
    outputs=(Tensor("speech_probability", "FP32", (Axis("chunks", 1, MAX_CHUNKS),)),),
    files={"silero_vad.onnx": silero_vad_assets.GRAPH},
    parameters={"max_chunks": str(MAX_CHUNKS), "intra_op_thread_count": "1"},
    assets={**silero_vad_assets.ASSETS, **CLIPS},
    examples=example_chunks,
    reference=voice_activity,
    exact=exact_voice_activity,
    corners=longer_requests,
    max_batch_size=64,
    dynamic_batching=None,
    sequence_batching=SequenceBatching(max_sequence_idle_microseconds=60_000_000, max_candidate_sequences=1024),
)


# --- Encoder ---


def load_encoder(files: Mapping[str, Path]) -> nn.Module:
    """Whisper's encoder."""
    from modelyard_build.nets import whisper

    return whisper.encoder_of(whisper.load_state(files))


def example_log_mels(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """`log_mel`, float32 [batch, 80, 3000], of the clips."""
    return {"log_mel": np.stack([_log_mel(content) for content in islice(cycle(clip_files(files)), batch)])}


def calibration_log_mels(files: Mapping[str, Path], batch: int, sizes: Mapping[str, int]) -> Arrays:
    """The same of clips that follow one another in a window, each time in another order: no clip stands there alone."""
    from modelyard_build.steps.speech import mel

    generator = np.random.default_rng(5)
    clips = [samples_of(content) for content in clip_files(files)]
    orders = [generator.permutation(len(clips)) for _ in range(batch)]
    joined = [np.concatenate([clips[place] for place in order])[: mel.SECONDS * mel.SAMPLE_RATE] for order in orders]
    return {"log_mel": np.stack([mel.log_mel(samples) for samples in joined])}


def _log_mel(content: bytes) -> Array:
    from modelyard_build.steps.speech import mel

    return mel.log_mel(samples_of(content))


ENCODER = Model(
    name="speech_encoder",
    summary="Whisper's encoder: the log-mel spectrogram of 30 s in, 1,500 states out",
    load=load_encoder,
    inputs=(LOG_MEL,),
    outputs=(STATES,),
    examples=example_log_mels,
    calibration=calibration_log_mels,
    assets={**whisper_assets.WEIGHT_ASSETS, **CLIPS},
    max_batch_size=MAX_BATCH_SIZE,
    optimum_batch_size=2,
    dynamic_batching=DynamicBatching(
        max_queue_delay_microseconds=1_000, max_queue_size=64, default_timeout_microseconds=60_000_000
    ),
    instance_count=1,
)


# --- Decoder ---


def write_decoder(files: Mapping[str, Path], folder: Path) -> None:
    """The decoder's graphs and the vocabulary's special numbers."""
    from modelyard_build.nets import whisper, whisper_graphs

    state = whisper.load_state(files)
    whisper_graphs.write(whisper.decoder_of(state), len(state["encoder.embed_positions.weight"]), folder)
    (folder / "decoding.json").write_text(json.dumps(_special(files), indent=1) + "\n")


def _special(files: Mapping[str, Path]) -> dict[str, Any]:
    from modelyard_build.nets import whisper, whisper_reference

    positions = len(whisper.load_state(files)["decoder.embed_positions.weight"])
    return whisper_reference.read_special(files["tokenizer"], files["config"], positions)


def example_states(files: Mapping[str, Path], batch: int) -> Arrays:
    """The states of a few clips, every other one with its language and with a beam."""
    encoded = _encoded(*(files[name] for name in whisper_assets.WEIGHTS), *(files[name] for name in CLIPS))
    return {
        "states": np.stack(list(islice(cycle(encoded), batch))),
        "seconds": np.full((batch, 1), 30, np.float32),
        "language": np.array([[b"en" if place % 2 else b""] for place in range(batch)], np.object_),
        "beam_size": np.array([[3 if place % 2 else 1] for place in range(batch)], np.int32),
    }


@functools.cache
def _encoded(*paths: Path) -> tuple[Array, ...]:
    import torch

    names = [*whisper_assets.WEIGHTS, *CLIPS]
    files = dict(zip(names, paths, strict=True))
    log_mels = example_log_mels(files, ENCODED, {})["log_mel"]
    with torch.inference_mode():
        return tuple(load_encoder(files)(torch.from_numpy(log_mels)).numpy())


def decoded(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What transformers writes."""
    found = [
        _segments(files, states, _wish(inputs, "language", place), _wish(inputs, "beam_size", place), float(seconds))
        for place, (states, (seconds,)) in enumerate(zip(inputs["states"], inputs["seconds"], strict=True))
    ]
    return {tensor.name: joined_rows([each[tensor.name] for each in found]) for tensor in DECODER.outputs}


def _wish(inputs: Arrays, name: str, place: int) -> Any:
    return inputs[name][place, 0] if name in inputs else None


def _segments(
    files: Mapping[str, Path], states: Array, language: bytes | None, beams: int | None, seconds: float
) -> Arrays:
    """The decoder's outputs for one window: [1, segments]."""
    import torch

    from modelyard_build.nets import whisper_reference
    from modelyard_build.steps.speech import rules

    model, tokenizer, special = _transformers(*(files[name] for name in whisper_assets.DECODER_ASSETS))
    tensor = torch.from_numpy(states)
    code = language.decode() if language else whisper_reference.language_of(model, tensor)
    tokens = whisper_reference.written(model, tensor, code, int(beams or 1))
    found = rules.read(tokens, rules.Tokens(**special), seconds)
    texts = [tokenizer.decode(words, skip_special_tokens=True).strip().encode() for _, _, words in found.segments]
    return {
        "start": np.array([[start for start, _, _ in found.segments]], np.float32),
        "end": np.array([[end for _, end, _ in found.segments]], np.float32),
        "text": np.array(texts, np.object_).reshape(1, -1),
        "until": np.array([[found.until]], np.float32),
        "language": np.array([[code.encode()]], np.object_),
    }


@functools.cache
def _transformers(*paths: Path) -> tuple[Any, Any, dict[str, Any]]:
    from tokenizers import Tokenizer

    from modelyard_build.nets import whisper, whisper_reference

    files = dict(zip(whisper_assets.DECODER_ASSETS, paths, strict=True))
    special = _special(files)
    model = whisper_reference.load(whisper.load_state(files), special, MAX_TOKENS)
    return model, Tokenizer.from_file(str(files["tokenizer"])), special


DECODER = PythonModel(
    name="speech_decoder",
    summary="Whisper's decoder: the encoder's states in, timed segments of text out",
    source=STEPS / "decoder.py",
    inputs=(
        STATES,
        Tensor("seconds", "FP32", (1,)),
        LANGUAGE,
        BEAM_SIZE,
        Tensor("max_tokens", "INT32", (1,), optional=True),
    ),
    outputs=(
        Tensor("start", "FP32", (SEGMENTS,)),
        Tensor("end", "FP32", (SEGMENTS,)),
        Tensor("text", "BYTES", (SEGMENTS,)),
        Tensor("until", "FP32", (1,)),
        Tensor("language", "BYTES", (1,)),
    ),
    files={"tokenizer.json": whisper_assets.TOKENIZER, **parts("rules.py", "search.py")},
    write=write_decoder,
    parameters={
        "beam_size": "1",
        "max_beam_size": str(MAX_BEAM_SIZE),
        "max_tokens": str(MAX_TOKENS),
        "temperatures": "0, 0.2, 0.4, 0.6, 0.8, 1.0",
        "compression_ratio_threshold": "2.4",
        "logprob_threshold": "-1.0",
        "no_speech_threshold": "0.6",
        "intra_op_thread_count": "0",
    },
    assets={**whisper_assets.DECODER_ASSETS, **CLIPS},
    examples=example_states,
    reference=decoded,
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=DynamicBatching(
        max_queue_delay_microseconds=5_000, max_queue_size=64, default_timeout_microseconds=60_000_000
    ),
    verified_items=2 * ENCODED,
)


# --- The whole ---


def example_audio(files: Mapping[str, Path], batch: int) -> Arrays:
    """`audio`, BYTES [batch, 1]: the clips' files; `language`, BYTES [batch, 1]."""
    return _asked(list(islice(cycle(clip_files(files)), batch)))


def one_recording(files: Mapping[str, Path]) -> Sequence[Arrays]:
    """All clips in one file, longer than a window, 24 kHz and in stereo; its language is to be found out."""
    import soxr

    pause = np.zeros(8_000, np.float32)
    samples = np.concatenate([part for content in clip_files(files) for part in (samples_of(content), pause)])
    recording = soxr.resample(samples, SAMPLE_RATE, 24_000)
    return [{"audio": np.array([[_as_wav(recording, 24_000, channels=2)]], np.object_)}]


def _as_wav(samples: Array, rate: int, channels: int) -> bytes:
    """16 bits, the same in each channel."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        frames = (samples.clip(-1, 1) * 32767).astype("<i2")
        writer.writeframes(np.repeat(frames, channels).tobytes())
    return file.getvalue()


def _asked(contents: Sequence[bytes]) -> Arrays:
    return {
        "audio": np.array(contents, np.object_).reshape(-1, 1),
        "language": np.full((len(contents), 1), b"en", np.object_),
    }


def transcribed(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What PyTorch and transformers say of each file: [items, segments, 1]."""
    found = [
        _transcript(files, content, _wish(inputs, "language", place))
        for place, (content,) in enumerate(inputs["audio"])
    ]
    return {name: joined_rows([each[name] for each in found]) for name in ("start", "end", "text", "language")}


def _transcript(files: Mapping[str, Path], content: bytes, language: bytes | None) -> Arrays:
    samples = samples_of(content)
    rows: dict[str, list[Any]] = {"start": [], "end": [], "text": [], "language": []}
    for first, behind in _windows(files, samples):
        for start, end, text, code in _heard(files, samples[first:behind], language):
            rows["start"].append(first / SAMPLE_RATE + start)
            rows["end"].append(first / SAMPLE_RATE + end)
            rows["text"].append(text)
            rows["language"].append(code)
    dtypes = {"start": np.float32, "end": np.float32, "text": np.object_, "language": np.object_}
    return {name: np.array(values, dtypes[name]).reshape(1, -1, 1) for name, values in rows.items()}


def _heard(
    files: Mapping[str, Path], samples: Array, language: bytes | None
) -> Iterator[tuple[float, float, bytes, bytes]]:
    """The segments of one window; where the decoder broke off within it, of the rest of it as well."""
    from modelyard_build.nets import whisper_reference

    model, _, _ = _transformers(*(files[name] for name in whisper_assets.DECODER_ASSETS))
    start, duration, until = 0.0, len(samples) / SAMPLE_RATE, np.inf
    while until >= 1 and duration - start >= 1:
        rest = samples[round(start * SAMPLE_RATE) :]
        states = whisper_reference.encoded(model, rest).numpy()
        found = _segments(files, states, language, None, len(rest) / SAMPLE_RATE)
        for first, last, text in zip(*(found[name][0] for name in ("start", "end", "text")), strict=True):
            yield start + float(first), start + float(last), text, found["language"][0, 0]
        until = float(found["until"][0, 0])
        start += until


def _windows(files: Mapping[str, Path], samples: Array) -> list[tuple[int, int]]:
    """First sample and the one behind the last of each window with speech, by PyTorch's voice activity."""
    from modelyard_build.steps.speech import windows

    filled = np.pad(samples, (0, -len(samples) % CHUNK))
    probabilities = voice_activity(files, {"audio": filled[None]})["speech_probability"][0]
    cutter = windows.Windows(
        windows.Limits.of(float(PARAMETERS["speech_threshold"]), int(PARAMETERS["min_silence_ms"]))
    )
    found = [*cutter.feed(probabilities.tolist()), *cutter.finish()]
    return [(start * CHUNK, end * CHUNK) for start, end in found]


def evaluation_data(files: Mapping[str, Path]) -> tuple[Arrays, Array]:
    """Every clip, and what is said in it."""
    return _asked(clip_files(files)), np.array(list(spoken_clips.TRANSCRIPTS.values()))


def figures(outputs: Arrays, truth: Array) -> Mapping[str, float]:
    """The share of words that are wrong, missing or too many, after OpenAI's normalisation of English (numbers…)."""
    from modelyard_build.word_errors import word_error_rate

    texts = [" ".join(text.decode() for text in row.reshape(-1) if text) for row in outputs["text"]]
    return {"word error rate": word_error_rate(texts, list(truth))}


PARAMETERS = {
    "streams": "4",
    "windows_at_once": "2",
    "max_seconds": "7200",
    "max_bytes": "134217728",
    "speech_threshold": "0.5",
    "min_silence_ms": "200",
}

SPEECH = PythonModel(
    name="speech",
    summary="sound in, timed segments of text out, streamed: silero-vad and whisper-base",
    source=STEPS / "transcriber.py",
    inputs=(
        Tensor("audio", "BYTES", (1,)),
        Tensor("sample_rate", "INT32", (1,), optional=True),
        LANGUAGE,
        BEAM_SIZE,
    ),
    outputs=(
        Tensor("start", "FP32", (1,)),
        Tensor("end", "FP32", (1,)),
        Tensor("text", "BYTES", (1,)),
        Tensor("language", "BYTES", (1,)),
    ),
    files=parts("audio.py", "mel.py", "windows.py"),
    parameters=PARAMETERS,
    calls={"vad": VAD.name, "encoder": ENCODER.name, "decoder": DECODER.name},
    assets={**whisper_assets.DECODER_ASSETS, **silero_vad_assets.ASSETS, **CLIPS},
    examples=example_audio,
    reference=transcribed,
    corners=one_recording,
    max_batch_size=1,
    decoupled=True,
    dynamic_batching=DynamicBatching(
        max_queue_delay_microseconds=0, max_queue_size=64, default_timeout_microseconds=60_000_000
    ),
    verified_items=4,
    evaluation=Evaluation(
        data=evaluation_data,
        figures=figures,
        data_sha256=spoken_clips.SHA256,
        losses=frozenset({"word error rate"}),
    ),
)

MODELS = (VAD, ENCODER, DECODER, SPEECH)
