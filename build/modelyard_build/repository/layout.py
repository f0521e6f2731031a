"""Triton's names in a model repository: of files, and of the backends that take them. Imports nothing."""

from __future__ import annotations

FILENAME = "config.pbtxt"
# Where the configs for kinds of machines stand: Triton's --model-config-name picks one by its stem.
CONFIGS = "configs"
BACKEND_OF_PLATFORM = {
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
    "torch_aoti": "pytorch",
}
DEFAULT_FILENAMES = {
    "onnxruntime": "model.onnx",
    "openvino": "model.xml",
    "pytorch": "model.pt",
    "tensorrt": "model.plan",
    "tensorrt_rtx": "model.plan",
    "python": "model.py",
}
