"""What the author of a model writes: plain declarations, no framework imported.

A `Model` is a PyTorch module that becomes an artefact, a `PythonModel` a step written for Triton's Python backend,
an `Ensemble` a pipeline of both. Each is one Triton model with its own folder, config.pbtxt and versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from modelyard_build.assets import Asset

if TYPE_CHECKING:
    from torch import nn

Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = dict[str, Array]

# Triton's datatype names (the KServe protocol's), and what numpy calls them. BYTES elements are Python bytes.
NUMPY_DTYPES: Mapping[str, npt.DTypeLike] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}


@dataclass(frozen=True)
class Axis:
    """A dimension whose size the caller chooses, within proven limits (both included).

    Attributes:
        name: the dimension's name in the graph.
        min: the smallest size.
        max: the largest size.
        optimum: the size that most requests have: what engines are tuned for and candidates are measured at. Half of
            the largest, where none is given.
    """

    name: str
    min: int
    max: int
    optimum: int | None = None

    @property
    def opt(self) -> int:
        """The optimum within the limits."""
        return max(self.min, self.max // 2) if self.optimum is None else self.optimum


@dataclass(frozen=True)
class Tensor:
    """An input or output. `dims` has no batch dimension, as in config.pbtxt; of a model that does not batch, it is all.

    Attributes:
        name: the name in the graph, in config.pbtxt and in every request.
        dtype: Triton's datatype name, a key of `NUMPY_DTYPES`.
        dims: sizes without the batch; an `Axis` where the size varies.
        labels: for a classifier's output, the name of each element along the last dimension.
        padding: what a row is filled up with where the rows beside it are longer.
        optional: of an input: a request may leave it out.
    """

    name: str
    dtype: str
    dims: tuple[int | Axis, ...]
    labels: tuple[str, ...] = ()
    padding: int = 0
    optional: bool = False

    @property
    def config_dims(self) -> tuple[int, ...]:
        """The dims as config.pbtxt writes them: -1 where the size varies."""
        return tuple(-1 if isinstance(dim, Axis) else dim for dim in self.dims)


@dataclass(frozen=True)
class QueuePolicy:
    """What waits and for how long, of one priority level.

    Attributes:
        max_queue_size: requests that may wait; further ones are refused at once (0: no limit).
        default_timeout_microseconds: a request that waited longer is refused instead of served late (0: never).
    """

    max_queue_size: int
    default_timeout_microseconds: int


@dataclass(frozen=True)
class DynamicBatching:
    """The batcher of a model, in config.pbtxt's own terms.

    Attributes:
        max_queue_delay_microseconds: how long a request may wait for others to share its batch.
        max_queue_size: as in `QueuePolicy`, for the levels that have none of their own.
        default_timeout_microseconds: likewise.
        preferred_batch_size: the largest of these is the most that the batcher joins. None: max_batch_size.
        priority_levels: how many there are; what is of level 1 goes first. 0: what came first goes first.
        default_priority_level: that of a request that names none.
        priority_queue_policy: that of a level, where it is another than the default one.
    """

    max_queue_delay_microseconds: int
    max_queue_size: int
    default_timeout_microseconds: int
    preferred_batch_size: tuple[int, ...] = ()
    priority_levels: int = 0
    default_priority_level: int = 0
    priority_queue_policy: Mapping[int, QueuePolicy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        levels = range(1, self.priority_levels + 1)
        stated = {self.default_priority_level} if levels or self.default_priority_level else set()
        if not {*stated, *self.priority_queue_policy} <= {*levels}:
            raise ValueError(
                f"priority_levels is {self.priority_levels}, default_priority_level {self.default_priority_level}, and "
                f"priority_queue_policy is for {sorted(self.priority_queue_policy)}: Triton takes levels from 1 to "
                "priority_levels only, and needs a default among them. Mend the declaration."
            )


# The control inputs of a step that keeps state.
CONTROLS = ("START", "END", "CORRID")


@dataclass(frozen=True)
class SequenceBatching:
    """The sequence batcher of a step that keeps state for each correlation id, in config.pbtxt's own terms.

    Its strategy is *oldest*: requests of several sequences are batched, those of one run in order. The step gets the
    control inputs START and END (INT32 [1]) and CORRID (UINT64 [1]).

    Attributes:
        max_sequence_idle_microseconds: a sequence without a request for so long is over.
        max_candidate_sequences: sequences that may be live at a time; further ones wait for one to end.
        max_queue_delay_microseconds: how long a request may wait for others to share its batch.
    """

    max_sequence_idle_microseconds: int
    max_candidate_sequences: int
    max_queue_delay_microseconds: int = 0


@dataclass(frozen=True)
class Evaluation:
    """The task's own measure, on real data, of PyTorch and of the served model.

    Attributes:
        data: `data(files)`: the inputs (first dimension: items) and what is known of each item, which `figures` reads.
        figures: `figures(outputs, truth)`: the task's figures by name, those that are better when higher from 0 to 1.
            See `evaluations`.
        data_sha256: the hash of the evaluation data.
        details: `details(outputs, truth)`: more of the served answers for the manifest; nothing is judged by it.
        losses: the names of the figures that are better when lower, such as a word error rate.
        items: what the items are, for people. What something was fitted on is no held-out item.
    """

    data: Callable[[Mapping[str, Path]], tuple[Arrays, Array]]
    figures: Callable[[Arrays, Array], Mapping[str, float]]
    data_sha256: str
    details: Callable[[Arrays, Array], Mapping[str, Any]] | None = None
    losses: frozenset[str] = frozenset()
    items: str = "held-out items"


@dataclass(frozen=True)
class Model:
    """A PyTorch module that is exported to ONNX, or an ONNX graph as it is, served by Triton's onnxruntime backend.

    Attributes:
        name: the Triton model name.
        summary: one line for people.
        load: makes the module, in eval mode and float32, from the fetched assets.
        inputs: what `forward` takes, by keyword.
        outputs: what `forward` returns, in order.
        examples: `examples(files, batch, sizes)`: real inputs of `batch` items with every `Axis` at `sizes[axis.name]`.
        assets: the pinned files that `load` and `examples` read, by the name under which they get them.
        max_batch_size: the largest batch that is verified and served. 0: the model has no batch dimension; each item of
            `examples` is then a request of its own, and the module takes it without the first dimension.
        dynamic_batching: the batcher's settings in a config.pbtxt that the build writes; None for no batcher.
        optimum_batch_size: the batch that engines are tuned for and candidates' throughput is measured at.
        calibration: like `examples`, but from data that no verification sees: int8 takes its ranges from it. Without
            it no int8 candidate is made.
        translations: gives ONNX forms of operators that torch.onnx does not know: its `custom_translation_table`.
        instance_count: execution instances, on the CPU or on each GPU, in a config.pbtxt that the build writes.
        opset: the ONNX opset that is written.
        graph: the asset that is the ONNX graph itself, where nothing is to be exported; empty otherwise. The module is
            then what the graph is held against, such as `nets.onnx_reference`.
        evaluation: the task metric, where the task has one and no ensemble or step stands in front of the model.
    """

    name: str
    summary: str
    load: Callable[[Mapping[str, Path]], nn.Module]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    examples: Callable[[Mapping[str, Path], int, Mapping[str, int]], Arrays]
    assets: Mapping[str, Asset]
    max_batch_size: int
    dynamic_batching: DynamicBatching | None
    optimum_batch_size: int = 8
    calibration: Callable[[Mapping[str, Path], int, Mapping[str, int]], Arrays] | None = None
    translations: Callable[[], Mapping[Callable[..., Any], Callable[..., Any]]] | None = None
    instance_count: int = 2
    opset: int = 20
    graph: str = ""
    evaluation: Evaluation | None = None


@dataclass(frozen=True)
class PythonModel:
    """A step for Triton's Python backend: a model.py and the files it reads, published together.

    How it is asked where it is proven, and so what `examples` and `reference` hold, follows from its kind. Items are
    requests of their own, which Triton may batch. Where the step is decoupled, an item's responses stand along a new
    first dimension, filled up with zeros (b"") to the most that an item has: [items, responses, *dims]. Where it keeps
    state, the items that are given together are the requests of one sequence, in order.

    Attributes:
        source: the file that becomes `<version>/model.py`.
        files: assets that stand beside it in the version folder, by path in there.
        write: `write(files, folder)`: puts into the version folder what is made rather than copied.
        parameters: config.pbtxt's `parameters`, which the step reads.
        calls: the models that the step calls (business-logic scripting), by the parameter that names each.
        reference: `reference(files, inputs)`: the outputs that the served step must give, element for element. Where a
            model that it calls is served in less than float32, the task's figures are judged in place of the elements.
        examples: as in `Model`; the axes are those of the inputs.
        exact: like `reference`, in float64, for a step that computes: floats that are summed in another order in a
            batch are then held to the class *exact*.
        verified_items: how many real items go through the server and the reference before a version is published.
        corners: `corners(files)`: further inputs for the proof, such as the smallest and the largest sizes.
        instance_kind: the `kind` of the instance_group, in a config.pbtxt that the build writes.
        decoupled: whether a request is answered by a stream of responses: its `model_transaction_policy`.
        sequence_batching: the sequence batcher, for a step that keeps state.
        evaluation: the task metric, where the task has one.
    """

    name: str
    summary: str
    source: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    files: Mapping[str, Asset]
    parameters: Mapping[str, str]
    assets: Mapping[str, Asset]
    examples: Callable[[Mapping[str, Path], int], Arrays]
    reference: Callable[[Mapping[str, Path], Arrays], Arrays]
    max_batch_size: int
    dynamic_batching: DynamicBatching | None
    instance_count: int = 1
    instance_kind: str = "KIND_CPU"
    write: Callable[[Mapping[str, Path], Path], None] | None = None
    exact: Callable[[Mapping[str, Path], Arrays], Arrays] | None = None
    verified_items: int = 200
    corners: Callable[[Mapping[str, Path]], Sequence[Arrays]] | None = None
    calls: Mapping[str, str] = field(default_factory=dict)
    decoupled: bool = False
    sequence_batching: SequenceBatching | None = None
    evaluation: Evaluation | None = None

    @property
    def all_parameters(self) -> dict[str, str]:
        """Every one of config.pbtxt's `parameters`: what the step reads, and the models that it calls."""
        return {**self.parameters, **self.calls}


@dataclass(frozen=True)
class Step:
    """One model of an ensemble.

    Attributes:
        model: the composing model's name.
        input_map: its input name -> the ensemble's tensor name.
        output_map: its output name -> the ensemble's tensor name.
    """

    model: str
    input_map: Mapping[str, str]
    output_map: Mapping[str, str]


@dataclass(frozen=True)
class Ensemble:
    """Models in a row behind one name.

    Attributes:
        steps: in the order in which a request passes them.
        reference: `reference(files, inputs)`: what PyTorch answers to the ensemble's inputs.
        examples: `examples(files, batch)`: real inputs.
        assets: the pinned files that `reference` and `examples` read.
        verified_items: how many real items go through the server and PyTorch before a version is published.
        golden_items: how many of them are kept as golden samples.
        evaluation: the task metric, where the task has one.
    """

    name: str
    summary: str
    steps: Sequence[Step]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    examples: Callable[[Mapping[str, Path], int], Arrays]
    reference: Callable[[Mapping[str, Path], Arrays], Arrays]
    assets: Mapping[str, Asset]
    max_batch_size: int
    verified_items: int = 200
    golden_items: int = 16
    evaluation: Evaluation | None = None


AnyModel: TypeAlias = Model | PythonModel | Ensemble


def composing(model: AnyModel) -> tuple[str, ...]:
    """The models that one needs to be served: the steps of an ensemble, what a step calls."""
    if isinstance(model, Ensemble):
        return tuple(step.model for step in model.steps)
    return tuple(model.calls.values()) if isinstance(model, PythonModel) else ()
