"""Engines of TensorRT and of TensorRT-RTX: one implementation, as the two libraries differ in their name only.

What is decided is decided without a GPU: which file, which optimization profile, whether config.pbtxt fits. `engine`
and `memory` alone touch one.
"""
