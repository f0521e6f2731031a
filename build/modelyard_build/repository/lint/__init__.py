"""What is wrong with a model repository, said before a server starts.

A rule is one function of `rules/` and one line in its list; what it is given is a `subjects` object, and the artefacts
are read by `artefacts/`. Nothing here imports torch, onnx or a runtime.
"""
