"""`speech`: sound in, timed segments of text out, streamed (silero-vad and whisper-base)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard_build import steps
from modelyard_build.assets import Asset, LocalAsset
from modelyard_build.datasets import spoken_clips, spoken_inputs
from modelyard_build.datasets.spoken_inputs import CHUNK
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

if TYPE_CHECKING:
    from torch import nn

STEPS = Path(steps.__path__[0]) / "speech"
MAX_CHUNKS = 320
BANDS, MEL_FRAMES, FRAMES, WIDTH = 80, 3000, 1500, 512
MAX_BATCH_SIZE, MAX_TOKENS, MAX_BEAM_SIZE = 4, 224, 8
CLIPS: Mapping[str, Asset] = spoken_clips.ASSETS
LOG_MEL = Tensor("log_mel", "FP32", (BANDS, MEL_FRAMES))
STATES = Tensor("states", "FP32", (FRAMES, WIDTH))
LANGUAGE = Tensor("language", "BYTES", (1,), optional=True)
BEAM_SIZE = Tensor("beam_size", "INT32", (1,), optional=True)
SEGMENTS = Axis("segments", 0, MAX_TOKENS)


def parts(*names: str) -> dict[str, Asset]:
    """Files of the steps that lie beside a model.py."""
    return {name: LocalAsset(STEPS / name) for name in names}


# --- Voice activity ---


def voice_activity(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What PyTorch says of the requests of one sequence."""
    from modelyard_build.nets import speech_reference

    return {"speech_probability": speech_reference.voice_activity(files, inputs["audio"])}


def exact_voice_activity(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """The same in float64."""
    from modelyard_build.nets import speech_reference

    return {"speech_probability": speech_reference.voice_activity(files, inputs["audio"], double=True)}


VAD = PythonModel(
    name="speech_vad",
    summary="silero-vad: a voice in chunks of 512 samples in, the probability of speech in each out",
    source=STEPS / "vad.py",
    inputs=(Tensor("audio", "FP32", (Axis("samples", CHUNK, MAX_CHUNKS * CHUNK),)),),
    outputs=(Tensor("speech_probability", "FP32", (Axis("chunks", 1, MAX_CHUNKS),)),),
    files={"silero_vad.onnx": silero_vad_assets.GRAPH},
    parameters={"max_chunks": str(MAX_CHUNKS), "intra_op_thread_count": "1"},
    assets={**silero_vad_assets.ASSETS, **CLIPS},
    examples=spoken_inputs.example_chunks,
    reference=voice_activity,
    exact=exact_voice_activity,
    corners=spoken_inputs.longer_requests,
    max_batch_size=64,
    dynamic_batching=None,
    sequence_batching=SequenceBatching(max_sequence_idle_microseconds=60_000_000, max_candidate_sequences=1024),
)


# --- Encoder ---


def load_encoder(files: Mapping[str, Path]) -> nn.Module:
    """Whisper's encoder."""
    from modelyard_build.nets import whisper

    return whisper.encoder_of(whisper.load_state(files))


ENCODER = Model(
    name="speech_encoder",
    summary="Whisper's encoder: the log-mel spectrogram of 30 s in, 1,500 states out",
    load=load_encoder,
    inputs=(LOG_MEL,),
    outputs=(STATES,),
    examples=spoken_inputs.example_log_mels,
    calibration=spoken_inputs.calibration_log_mels,
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
    from modelyard_build.nets import whisper, whisper_graphs, whisper_reference

    state = whisper.load_state(files)
    whisper_graphs.write(whisper.decoder_of(state), len(state["encoder.embed_positions.weight"]), folder)
    positions = len(state["decoder.embed_positions.weight"])
    special = whisper_reference.read_special(files["tokenizer"], files["config"], positions)
    (folder / "decoding.json").write_text(json.dumps(special, indent=1) + "\n")


def decoded(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What transformers writes."""
    from modelyard_build.nets import speech_reference

    return speech_reference.decoded(files, inputs, MAX_TOKENS)


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
    files={"tokenizer.json": whisper_assets.TOKENIZER, **parts("decoding.py", "lifeline.py", "rules.py", "search.py")},
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
    examples=spoken_inputs.example_states,
    reference=decoded,
    max_batch_size=MAX_BATCH_SIZE,
    dynamic_batching=DynamicBatching(
        max_queue_delay_microseconds=5_000, max_queue_size=64, default_timeout_microseconds=60_000_000
    ),
    verified_items=2 * spoken_inputs.ENCODED,
)


# --- The whole ---


def transcribed(files: Mapping[str, Path], inputs: Arrays) -> Arrays:
    """What PyTorch and transformers say of each file."""
    from modelyard_build.nets import speech_reference
    from modelyard_build.steps.speech.windows import Limits

    limits = Limits.of(float(PARAMETERS["speech_threshold"]), int(PARAMETERS["min_silence_ms"]))
    return speech_reference.transcribed(files, inputs, MAX_TOKENS, limits)


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
    files=parts("audio.py", "calls.py", "heard.py", "lifeline.py", "mel.py", "request.py", "windows.py"),
    parameters=PARAMETERS,
    calls={"vad": VAD.name, "encoder": ENCODER.name, "decoder": DECODER.name},
    assets={**whisper_assets.DECODER_ASSETS, **silero_vad_assets.ASSETS, **CLIPS},
    examples=spoken_inputs.example_audio,
    reference=transcribed,
    corners=spoken_inputs.one_recording,
    max_batch_size=1,
    decoupled=True,
    dynamic_batching=DynamicBatching(
        max_queue_delay_microseconds=0, max_queue_size=64, default_timeout_microseconds=60_000_000
    ),
    verified_items=4,
    evaluation=Evaluation(
        data=spoken_inputs.evaluation_data,
        figures=figures,
        data_sha256=spoken_clips.SHA256,
        losses=frozenset({"word error rate"}),
    ),
)

MODELS = (VAD, ENCODER, DECODER, SPEECH)
