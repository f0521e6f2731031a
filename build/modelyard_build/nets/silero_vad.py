"""silero-vad 6 for 16 kHz: the probability that a chunk of sound holds speech (Silero Team, MIT).

The layers follow the authors' own definition (`silero_vad/tinygrad_model.py`): a spectrogram as a convolution, four
convolutions, one LSTM cell whose state goes from chunk to chunk, and a sigmoid. A chunk is 512 samples, and is heard
together with the 64 before it.

The weights are those of the authors' ONNX graph: the safetensors file of the same package holds an earlier training's
(its probabilities differ by up to 0.18 from those of the graph and of the TorchScript file, which agree to 1e-6).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE = 16_000
CHUNK, CONTEXT, STATE = 512, 64, 128
_FREQUENCIES = 129


class SileroVad(nn.Module):
    """One chunk of each of several voices."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * _FREQUENCIES, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(_FREQUENCIES, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(STATE, STATE)
        self.final_conv = nn.Conv1d(STATE, 1, 1)

    def forward(self, samples: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What one chunk says.

        Args:
            samples: float [voices, 64 + 512], the end of the chunk before and the chunk, from -1 to 1.
            hidden: the state, float [voices, 128].
            cell: likewise.

        Returns:
            The probability of speech, float [voices], and the state after the chunk.
        """
        padded = functional.pad(samples[:, None], (0, CONTEXT), "reflect")
        real, imaginary = self.stft_conv(padded).split(_FREQUENCIES, 1)
        features = (real**2 + imaginary**2).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = layer(features).relu()
        hidden, cell = self.lstm_cell(features.squeeze(-1), (hidden, cell))
        return self.final_conv(hidden.relu()[..., None]).sigmoid()[:, 0, 0], hidden, cell


def load_silero_vad(files: Mapping[str, Path]) -> SileroVad:
    """The net with its weights, float32, in eval mode."""
    graph = onnx.load(files["silero graph"]).graph
    stored = {each.name: torch.tensor(numpy_helper.to_array(each)) for each in graph.initializer}
    net = SileroVad()
    net.load_state_dict({name: stored[f"model.{theirs}"] for name, theirs in _names()})
    return net.eval()


def _names() -> Iterator[tuple[str, str]]:
    """What each tensor is called here, and in the authors' graph."""
    yield "stft_conv.weight", "stft.forward_basis_buffer"
    for kind in ("weight", "bias"):
        yield from ((f"conv{number + 1}.{kind}", f"encoder.{number}.reparam_conv.{kind}") for number in range(4))
        yield from ((f"lstm_cell.{kind}_{side}", f"decoder.rnn.{kind}_{side}") for side in ("ih", "hh"))
        yield f"final_conv.{kind}", f"decoder.decoder.2.{kind}"


def probabilities(net: SileroVad, samples: Tensor) -> Tensor:
    """Of each chunk of one voice from its start.

    Args:
        net: in any float.
        samples: of that float, [chunks * 512], from -1 to 1.

    Returns:
        [chunks].
    """
    hidden = cell = samples.new_zeros(1, STATE)
    heard = functional.pad(samples, (CONTEXT, 0)).unfold(0, CONTEXT + CHUNK, CHUNK)
    found = []
    with torch.inference_mode():
        for chunk in heard:
            probability, hidden, cell = net(chunk[None], hidden, cell)
            found.append(probability)
    return torch.cat(found)
