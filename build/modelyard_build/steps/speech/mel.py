"""The log-mel spectrogram that Whisper hears: pure numpy, equal to transformers' `WhisperFeatureExtractor`.

80 bands on Slaney's scale (Malcolm Slaney, Auditory Toolbox, 1998), a window of 25 ms each 10 ms, logarithms to base 10
that reach 8 below the loudest, scaled to about -1 to 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SAMPLE_RATE, WINDOW, HOP, BANDS = 16_000, 400, 160, 80
SECONDS = 30
FRAMES = SECONDS * SAMPLE_RATE // HOP
_QUIETEST = 1e-10
_DYNAMIC_RANGE = 8.0
# Slaney's scale: straight up to 1 kHz (mel 15), then a logarithm of 27 steps for each factor of 6.4.
_STRAIGHT_HZ, _STRAIGHT_MELS, _STEP = 1000.0, 15.0, np.log(6.4) / 27

Array = npt.NDArray[np.float32]


def _hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    straight = mels * _STRAIGHT_HZ / _STRAIGHT_MELS
    return np.where(mels < _STRAIGHT_MELS, straight, _STRAIGHT_HZ * np.exp(_STEP * (mels - _STRAIGHT_MELS)))


def _filters() -> npt.NDArray[np.float64]:
    """Triangles of equal area: float64 [201, 80]."""
    highest = _STRAIGHT_MELS + np.log(SAMPLE_RATE / 2 / _STRAIGHT_HZ) / _STEP
    edges = _hertz(np.linspace(0, highest, BANDS + 2))
    distances = edges[None, :] - np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1)[:, None]
    widths = np.diff(edges)
    rising, falling = -distances[:, :-2] / widths[:-1], distances[:, 2:] / widths[1:]
    filters: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])
    return filters


_FILTERS = _filters()
# The periodic form.
_HANN = np.hanning(WINDOW + 1)[:-1]


def log_mel(samples: Array) -> Array:
    """The spectrogram of at most 30 s; what is missing is silence.

    Args:
        samples: float32 [samples], 16 kHz, from -1 to 1.

    Returns:
        float32 [80, 3000].
    """
    filled = np.zeros(SECONDS * SAMPLE_RATE, np.float64)
    filled[: len(samples)] = samples
    padded = np.pad(filled, WINDOW // 2, "reflect")
    # Frames of nothing but zeros have the same quietest value in every band.
    used = min(FRAMES, (len(samples) + WINDOW // 2) // HOP + 1)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: used * HOP : HOP]
    powers = np.abs(np.fft.rfft(frames * _HANN)) ** 2
    bands = np.full((FRAMES, BANDS), np.log10(_QUIETEST))
    bands[:used] = np.log10(np.maximum(powers @ _FILTERS, _QUIETEST))
    return ((np.maximum(bands, bands.max() - _DYNAMIC_RANGE) + 4) / 4).T.astype(np.float32)
