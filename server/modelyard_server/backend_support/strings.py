"""BYTES tensors: Triton hands out bytes, the runtimes want text."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard_server.backend_support.errors import RequestError


def decode(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same tensor with str elements.

    Args:
        name: The input's name, for the message.
        array: bytes objects, of any shape.

    Raises:
        RequestError: An element is not valid UTF-8, which ONNX demands of strings.
    """
    elements = array.reshape(-1).tolist()
    decoded = np.empty(len(elements), dtype=np.object_)
    for place, element in enumerate(elements):
        try:
            decoded[place] = element.decode()
        except UnicodeDecodeError as error:
            raise RequestError(
                f"input '{name}', element {place}: expected UTF-8, got byte 0x{element[error.start]:02x} at position "
                f"{error.start} ({error.reason})"
            ) from None
    return decoded.reshape(array.shape)
