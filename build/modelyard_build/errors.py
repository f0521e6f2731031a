"""The errors of this package, drawn as a tree.

BuildError
├── UnknownModel         a name that no file of `models/` declares
├── BrokenDeclaration    a file of `models/` that raises, or lacks what it has to declare
├── UnknownTarget        a name that is neither a target nor a candidate
├── AssetUnavailable     weights or data could not be fetched, or are not what was pinned
├── AdoptionFailed       `modelyard new` could not make a declaration of what it was given
├── ExportFailed         PyTorch could not write the graph, or the graph is not what was declared
├── ArtefactFailed       a target could not write or load its artefact of the graph
├── ConfigContradiction  config.pbtxt says one thing, the artefact another
├── VerificationFailed   the artefact does not answer as the PyTorch model does
├── ServeFailed          Triton did not load a staged model, or did not answer
└── PublishFailed        the version could not be put into the repository; the old one still serves
"""

from __future__ import annotations


class BuildError(Exception):
    """The base of all of them. The message says what, got, expected and the next step."""


class UnknownModel(BuildError):
    """No model of this name is declared."""


class BrokenDeclaration(BuildError):
    """The file that declares a model cannot be read."""


class UnknownTarget(BuildError):
    """No target or candidate is called this."""


class AssetUnavailable(BuildError):
    """A pinned file could not be fetched, or its content is not the pinned one."""


class AdoptionFailed(BuildError):
    """What `modelyard new` was given is no model that can be declared; the message says what to do."""


class ExportFailed(BuildError):
    """The PyTorch module did not become the declared ONNX graph."""


class ArtefactFailed(BuildError):
    """A target could not make, or not load, its artefact of this model."""


class ConfigContradiction(BuildError):
    """A config.pbtxt contradicts the artefact it would serve."""


class VerificationFailed(BuildError):
    """An artefact differs from its PyTorch reference by more than is allowed."""


class ServeFailed(BuildError):
    """A Triton that was to prove a model did not load it, or did not answer."""


class PublishFailed(BuildError):
    """A version could not be written into the model repository."""
