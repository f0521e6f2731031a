"""WAV files and raw samples to what speech models hear: 16 kHz, mono, float32 from -1 to 1; block by block."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

SAMPLE_RATE = 16_000
MIN_RATE, MAX_RATE, MAX_CHANNELS = 8_000, 192_000, 8
BLOCK_SECONDS = 10
# Of the format chunk (mmreg.h); the extensible form keeps its own number further behind.
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
# What a program writes that does not know yet how long its output will be.
UNKNOWN_LENGTHS = (0, 0xFFFFFFFF)
# What people send in place of a WAV file, by its first bytes.
OTHERS = {
    b"ID3": "an MP3 file",
    b"\xff\xfb": "an MP3 file",
    b"fLaC": "a FLAC file",
    b"OggS": "an Ogg file",
    b"\x1aE\xdf\xa3": "a WebM or Matroska file",
    b"RF64": "an RF64 file",
}

Array = npt.NDArray[np.float32]


class InvalidAudio(ValueError):
    """Sound that cannot be read; the message is the request's answer."""


@dataclass(frozen=True)
class Audio:
    """Sound as it came.

    Attributes:
        samples: the bytes of all frames.
        rate: frames in a second.
        channels: samples in a frame.
        bits: of a sample.
        is_float: whether a sample is a float; of 8 bits it is an unsigned number, else a signed one.
    """

    samples: memoryview
    rate: int
    channels: int
    bits: int
    is_float: bool = False

    @property
    def frames(self) -> int:
        """How many there are; bytes of a last frame that is not whole do not count."""
        return len(self.samples) // (self.channels * self.bits // 8)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.rate

    def blocks(self) -> Iterator[Array]:
        """16 kHz, mono, float32 from -1 to 1, some seconds at a time.

        Raises:
            InvalidAudio: it holds NaN or infinity; says where.
        """
        resampler = None if self.rate == SAMPLE_RATE else soxr.ResampleStream(self.rate, SAMPLE_RATE, 1, "float32")
        length = BLOCK_SECONDS * self.rate
        for start in range(0, self.frames, length):
            mono = self._mono(start, min(start + length, self.frames))
            if resampler:
                mono = resampler.resample_chunk(mono, last=start + length >= self.frames)
            # What is louder than full scale, in a file of floats or by resampling, is cut off.
            yield mono.clip(-1, 1)

    def _mono(self, start: int, end: int) -> Array:
        width = self.channels * self.bits // 8
        values = _as_floats(self.samples[start * width : end * width], self.bits, self.is_float)
        mono: Array = values.reshape(-1, self.channels).mean(1, dtype=np.float32)
        if not np.isfinite(mono).all():
            second = (start + int(np.flatnonzero(~np.isfinite(mono))[0])) / self.rate
            raise InvalidAudio(f"holds NaN or infinity, first at {second:.3f} s. See what it was computed from.")
        return mono


def _as_floats(content: memoryview, bits: int, is_float: bool) -> Array:
    """Samples from -1 to 1 (floats as they are): float32 [samples]."""
    if is_float:
        return np.frombuffer(content, f"<f{bits // 8}").astype(np.float32)
    if bits == 8:
        return (np.frombuffer(content, np.uint8).astype(np.float32) - 128) / 128
    if bits == 24:
        # Three bytes become the upper ones of four.
        wide = np.zeros((len(content) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    return np.frombuffer(content, f"<i{bits // 8}").astype(np.float32) / np.float32(2 ** (bits - 1))


def raw(content: bytes, rate: int) -> Audio:
    """Samples without a header: signed, 16 bits, little-endian, mono.

    Raises:
        InvalidAudio: the rate is not read, or half a sample is left over.
    """
    if len(content) % 2:
        raise InvalidAudio(
            f"has {len(content)} bytes, an odd number, where sample_rate says that it is 16-bit samples without a "
            "header. Send whole samples; for a WAV file leave sample_rate out."
        )
    return _checked(Audio(memoryview(content), rate, 1, 16))


def wav(content: bytes) -> Audio:
    """The sound of a WAV file.

    Raises:
        InvalidAudio: it is none, is damaged or cut off, or holds what is not read here.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        what = next((what for magic, what in OTHERS.items() if content.startswith(magic)), "no WAV file")
        raise InvalidAudio(
            f"is {what}: it has {len(content)} bytes and begins with {content[:8]!r}. Send the bytes of a WAV file "
            "(ffmpeg -i INPUT -ac 1 -ar 16000 OUTPUT.wav makes one), or 16-bit samples with sample_rate."
        )
    format_: bytes | None = None
    for name, body, missing in _chunks(content):
        if name == b"fmt ":
            format_ = bytes(body)
        elif name == b"data":
            if missing:
                raise InvalidAudio(
                    f"is cut off: its header promises {len(body) + missing} bytes of sound, {len(body)} are there. "
                    "Send the whole file."
                )
            return _checked(_audio(format_, body))
    raise InvalidAudio(f"is a WAV file without sound: in its {len(content)} bytes there is no data chunk.")


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview, int]]:
    """Name and body of each part of the file, and how many bytes of it are missing."""
    view, start = memoryview(content), 12
    while start + 8 <= len(content):
        name, length = content[start : start + 4], struct.unpack_from("<I", content, start + 4)[0]
        body = view[start + 8 : start + 8 + length]
        if name == b"data" and length in UNKNOWN_LENGTHS:
            yield name, view[start + 8 :], 0
            return
        yield name, body, length - len(body)
        start += 8 + length + length % 2


def _audio(format_: bytes | None, body: memoryview) -> Audio:
    if format_ is None or len(format_) < 16:
        raise InvalidAudio("is a WAV file whose sound stands before its format, or without one. Save it anew.")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", format_)
    if kind == EXTENSIBLE and len(format_) >= 26:
        kind = struct.unpack_from("<H", format_, 24)[0]
    if (kind, bits) not in {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)}:
        raise InvalidAudio(
            f"is a WAV file in format {kind} with {bits} bits a sample; read are PCM (format {PCM}) with 8, 16, 24 or "
            f"32 bits and floats (format {FLOAT}) with 32 or 64. Convert it: ffmpeg -i INPUT -c:a pcm_s16le OUTPUT.wav"
        )
    return Audio(body, rate, channels, bits, kind == FLOAT)


def _checked(audio: Audio) -> Audio:
    if not MIN_RATE <= audio.rate <= MAX_RATE:
        raise InvalidAudio(f"has a sample rate of {audio.rate} Hz, expected {MIN_RATE} to {MAX_RATE}. Resample it.")
    if not 1 <= audio.channels <= MAX_CHANNELS:
        raise InvalidAudio(f"has {audio.channels} channels, expected 1 to {MAX_CHANNELS}. Mix it down.")
    return audio
