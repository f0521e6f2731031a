"""A Llama in a GGUF file to OpenVINO's form, with exactly the numbers of the file.

OpenVINO GenAI reads GGUF, but a block of Q4_1, q·d + m, becomes (q - z)·d there with z rounded to a whole number:
SmolLM2's matrices are off by 9 % of their mean size, and a greedy answer parts from PyTorch's after three or four
tokens. Here the graph is GenAI's, and each z is replaced by the number that it was rounded from, in float32: the
answers are PyTorch's.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
import openvino_genai
from openvino import opset13

from modelyard_build.errors import BuildError
from modelyard_build.openvino_core import same_signal_stack

# The matrices of a layer, by the ends of transformers' names.
MATRICES = ("_proj.weight",)
MODEL = "openvino_model.xml"
# From a product back to the numbers as they are stored.
_DECOMPRESSION = ("Convert", "Reshape", "Multiply", "Subtract", "Convert", "Constant")
# Rounding z is off by half a step at most.
_MOST_STEPS = 0.51
# Of float32, over the few operations between the file and the graph.
_ROUNDING = 1e-5
# Where a step is 0.
_NOTHING = 1e-6


def write_openvino(gguf: Path, weights: Mapping[str, npt.NDArray[np.float32]], folder: Path) -> None:
    """Writes model, tokenizer and detokenizer into a folder.

    Args:
        gguf: the file.
        weights: the net's matrices as transformers reads them, by its names, float32 [outputs, inputs].
        folder: where they go.

    Raises:
        BuildError: GenAI's graph is not as expected: of another form, or with other numbers than the weights.
    """
    with same_signal_stack():
        _write(gguf, weights, folder)


def _write(gguf: Path, weights: Mapping[str, npt.NDArray[np.float32]], folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        # GenAI writes beside the file that it reads.
        copy = Path(temporary) / gguf.name
        shutil.copyfile(gguf, copy)
        openvino_genai.Tokenizer(str(copy), enable_save_ov_model=True)
        schedule = openvino_genai.SchedulerConfig()
        schedule.num_kv_blocks = 1
        openvino_genai.ContinuousBatchingPipeline(str(copy), schedule, "CPU", {"enable_save_ov_model": True})
        model = openvino.Core().read_model(copy.with_name(MODEL))
        _restore(model, weights)
        openvino.save_model(model, folder / MODEL, compress_to_fp16=False)
        for part in ("openvino_tokenizer", "openvino_detokenizer"):
            for suffix in (".xml", ".bin"):
                shutil.copyfile(copy.with_name(part + suffix), folder / (part + suffix))


def _restore(model: Any, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Puts the file's own numbers into every matrix that GenAI holds in 4 bits."""
    left = {name: weight for name, weight in weights.items() if name.endswith(MATRICES)}
    found = list(_matrices(model))
    if not found or len(found) != len(left):
        raise BuildError(
            f"OpenVINO GenAI made {len(found)} matrices of 4 bits of the GGUF file, the net has {len(left)}. Its "
            "reader of GGUF has changed: look at nets/gguf_openvino.py."
        )
    for node in found:
        stored = _stored(node)
        # GenAI's nodes have no names: what a matrix is shows in its numbers.
        name = next((name for name, weight in left.items() if stored.is_rounded(weight)), "")
        if not name:
            raise BuildError(f"{node.get_friendly_name()} of OpenVINO GenAI is none of the net's matrices.")
        node.output(0).replace(stored.restored(name, left.pop(name)).output(0))


def _matrices(model: Any) -> Iterator[Any]:
    """The nodes that give a matrix of 4 bits, as float32, to a product."""
    for product in model.get_ordered_ops():
        if product.get_type_name() != "MatMul":
            continue
        node = inner = product.input_value(1).get_node()
        path = [node.get_type_name()]
        while path[-1] in _DECOMPRESSION[:-1]:
            inner = inner.input_value(0).get_node()
            path.append(inner.get_type_name())
        if tuple(path) == _DECOMPRESSION and inner.get_output_element_type(0) == openvino.Type.u4:
            yield node


@dataclass(frozen=True)
class _Stored:
    """A matrix as GenAI holds it: (q - z)·d.

    Attributes:
        whole: the node of q.
        numbers: q, float32 [outputs, blocks, 32].
        zero: z, float32 [outputs, blocks, 1].
        steps: d, float32 [outputs, blocks, 1].
    """

    whole: Any
    numbers: npt.NDArray[np.float32]
    zero: npt.NDArray[np.float32]
    steps: npt.NDArray[np.float32]

    def is_rounded(self, weight: npt.NDArray[np.float32]) -> bool:
        """Whether this is a matrix with its z rounded: each number is off by half a step at most."""
        if len(self.numbers) != len(weight) or self.numbers.size != weight.size:
            return False
        off = np.abs((self.numbers - self.zero) * self.steps - weight.reshape(self.numbers.shape))
        return bool((off <= _MOST_STEPS * np.abs(self.steps) + _NOTHING).all())

    def restored(self, name: str, weight: npt.NDArray[np.float32]) -> Any:
        """The node of the matrix with its own z."""
        # Where a block's step is 0, all of it is m: any step holds it.
        steps = np.where(self.steps == 0, 1, self.steps).astype(np.float32)
        blocks = weight.reshape(self.numbers.shape)
        exact = np.median(self.numbers - blocks / steps, axis=2, keepdims=True).astype(np.float32)
        if np.abs((self.numbers - exact) * steps - blocks).max() > _ROUNDING * np.abs(weight).max():
            raise BuildError(f"{name} of the GGUF file is not of the form q·d + m: look at nets/gguf_openvino.py.")
        floats = opset13.subtract(opset13.convert(self.whole, "f32"), opset13.constant(exact))
        shape = opset13.constant(np.array(weight.shape, np.int64))
        return opset13.reshape(opset13.multiply(floats, opset13.constant(steps)), shape, special_zero=False)


def _stored(node: Any) -> _Stored:
    scaled = node.input_value(0).get_node().input_value(0).get_node()
    shifted = scaled.input_value(0).get_node()
    whole, rounded = (shifted.input_value(side).get_node().input_value(0).get_node() for side in (0, 1))
    return _Stored(whole, _unpacked(whole), _unpacked(rounded), _constant(scaled.input_value(1).get_node()))


def _unpacked(constant: Any) -> npt.NDArray[np.float32]:
    """Numbers of 4 bits as float32."""
    small = openvino.Model([opset13.convert(constant, "f32")], [])
    return np.array(openvino.Core().compile_model(small, "CPU")([])[0])


def _constant(node: Any) -> npt.NDArray[np.float32]:
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return np.asarray(node.data).astype(np.float32)
