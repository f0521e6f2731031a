"""Every kind of origin that `modelyard new --from` knows, in the order in which they are asked."""

from __future__ import annotations

from modelyard_build.adoption.origin import Origin
from modelyard_build.adoption.origins import exported_program, hugging_face, onnx_file, python_file, torchscript

# A new kind is a file in this folder and a line here.
ORIGINS: tuple[Origin, ...] = (
    python_file.ORIGIN,
    onnx_file.ORIGIN,
    exported_program.ORIGIN,
    torchscript.ORIGIN,
    hugging_face.ORIGIN,
)
