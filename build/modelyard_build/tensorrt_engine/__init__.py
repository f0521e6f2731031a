"""Building a TensorRT engine out of an ONNX graph; `tensorrt` and `tensorrt_rtx` share it, as they share their API.

The library runs in a process of its own (`worker`), which `builder` starts, watches and ends. Everything else here is
free of it.
"""
