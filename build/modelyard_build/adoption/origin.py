"""What a stranger's model is opened as, whatever it came as. One file of `origins/` for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard_build.assets import PinnedAsset
from modelyard_build.model import Arrays

if TYPE_CHECKING:
    from torch import nn

    from modelyard_build.adoption.inspection import Inspected


@dataclass(frozen=True)
class Draw:
    """Which values an input may take, for inputs of any size to be drawn like the example.

    Attributes:
        low: integers: the smallest.
        high: integers: one more than the largest. Where both are 0 the example's own values are drawn from.
        ones: an input that is a mask: 1 everywhere but for a padded end of some rows.
    """

    low: int = 0
    high: int = 0
    ones: bool = False


@dataclass(frozen=True)
class Limit:
    """What is known of a dimension before it is tried.

    Attributes:
        name: what the axis is called ("sequence").
        min: the smallest size.
        max: the largest size.
    """

    name: str
    min: int
    max: int


@dataclass(frozen=True)
class Wish:
    """What the user said on the command line.

    Attributes:
        name: the Triton model name that is to be.
        origin: `--from`: a path, `path.py:Class`, or a Hugging Face name.
        weights: a safetensors or `weights_only` checkpoint, where the origin is a class.
        example: a .npz file of named inputs, items along the first dimension.
        inputs: inputs by name, where there is no example: dtype and dims without the batch; a dim that varies by its
            name.
        architecture: for a Hugging Face folder, the class to load it as ("AutoModelForSequenceClassification"); empty:
            what its config names.
        draws: which values inputs may take, where that was said.
        limits: from what to what a dim of `inputs` may vary, by its name, where that was said.
    """

    name: str
    origin: str
    weights: Path | None = None
    example: Path | None = None
    inputs: Mapping[str, tuple[str, tuple[int | str, ...]]] = field(default_factory=dict)
    architecture: str = ""
    draws: Mapping[str, Draw] = field(default_factory=dict)
    limits: Mapping[str, Limit] = field(default_factory=dict)


@dataclass(frozen=True)
class AsItIs:
    """The end of a declaration that serves a module in place of a graph of it; see `module_step`.

    Attributes:
        imported: the import that it needs, a line of Python.
        call: what makes a step of MODEL, `original` and PLACES.
        arguments: further ones, lines of Python.
    """

    imported: str
    call: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Opened:
    """A module that runs, one example for it, and how a declaration is to make it again.

    Attributes:
        module: eval mode, float32, on the CPU. It takes the example's arrays as tensors, by keyword; it may return
            anything that torch's pytree knows.
        example: real or drawn inputs of two items or more, by parameter name; the first dimension is the batch.
        load: the body of the declaration's `load(files)`, in Python, that ends in `return module`; imports inside.
        assets: the user's files that `load` reads, by the name under which it gets them.
        draws: how each input is drawn at other sizes; one that is not named varies around the example.
        limits: what is known of dimensions, by input and by dimension (0 is the batch).
        summary: one line for people.
        output_names: names for outputs that have none of their own, in order; empty: they are found.
        graph: the asset that is the ONNX graph itself, where nothing is to be exported; empty otherwise.
        example_asset: the asset that holds the example, where it is the user's own file of real inputs; empty where it
            was drawn.
        as_it_is: how it is served where it cannot be exported; None where there is no way.
        notes: what a person is to know of it, a sentence each.
        inspected: what it takes and answers, where the origin itself knows it.
        labels: of a classifier's outputs, by output name: the name of each element along the last dimension.
        pinned: of assets that are not the user's own files, how they are fetched again, by their names in `assets`.
    """

    module: nn.Module
    example: Arrays
    load: str
    assets: Mapping[str, Path]
    draws: Mapping[str, Draw] = field(default_factory=dict)
    limits: Mapping[str, Mapping[int, Limit]] = field(default_factory=dict)
    summary: str = ""
    output_names: tuple[str, ...] = ()
    graph: str = ""
    example_asset: str = ""
    as_it_is: AsItIs | None = None
    notes: tuple[str, ...] = ()
    inspected: Inspected | None = None
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pinned: Mapping[str, PinnedAsset] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """A kind of origin.

    Attributes:
        name: for people ("a Hugging Face folder").
        knows: whether a wish's origin is of this kind; looks at names and first bytes only, and never raises.
        open: opens it; raises AdoptionFailed in words for whatever is wrong with it.
    """

    name: str
    knows: Callable[[Wish], bool]
    open: Callable[[Wish], Opened]
