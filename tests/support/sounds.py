"""WAV files of every kind."""

from __future__ import annotations

import struct

import numpy as np

from modelyard_build.model import Array
from modelyard_build.steps.speech import audio


def wav_of(frames: bytes, rate: int, channels: int, bits: int, kind: int = audio.PCM, extra: bytes = b"") -> bytes:
    """A WAV file with a chunk that nobody knows before the sound."""
    width = channels * bits // 8
    format_ = struct.pack("<HHIIHH", kind, channels, rate, rate * width, width, bits) + extra
    parts = b"fmt " + struct.pack("<I", len(format_)) + format_ + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    parts += b"data" + struct.pack("<I", len(frames)) + frames
    return b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WAVE" + parts


def encoded(samples: Array, bits: int, kind: int) -> bytes:
    """Samples as a WAV file holds them."""
    if kind == audio.FLOAT:
        return bytes(samples.astype(f"<f{bits // 8}").tobytes())
    if bits == 8:
        return bytes(np.round(samples * 127 + 128).astype(np.uint8).tobytes())
    whole = np.round(samples * (2 ** (bits - 1) - 1)).astype("<i4")
    return bytes(whole.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes())
