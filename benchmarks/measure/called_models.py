"""What a step calls (business-logic scripting), in this process: `pb_utils.InferenceRequest` without Triton."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from measure.python_steps import UTILS, Tensor
from measure.served import Tensors

Model = Callable[[Tensors], Tensors]


@dataclass(frozen=True)
class Answer:
    """A called model's `pb_utils.InferenceResponse`."""

    outputs: Tensors

    def has_error(self) -> bool:
        """Never: what fails in process raises."""
        return False


class Asked:
    """`pb_utils.InferenceRequest`."""

    models: ClassVar[Mapping[str, Model]] = {}

    def __init__(
        self, model_name: str, requested_output_names: Sequence[str], inputs: Sequence[Tensor], preferred_memory: Any
    ) -> None:
        self._model = self.models[model_name]
        self._inputs = {tensor.name: tensor.as_numpy() for tensor in inputs}

    async def async_exec(self) -> Answer:
        """Runs the model."""
        return Answer(self._model(self._inputs))


def callable_here(models: Mapping[str, Model]) -> None:
    """Gives steps that are initialised the models that they call, by name."""
    Asked.models = models
    sys.modules[UTILS].__dict__.update(
        InferenceRequest=Asked,
        PreferredMemory=lambda *place: place,
        TRITONSERVER_MEMORY_CPU=0,
        get_output_tensor_by_name=lambda answer, name: Tensor(name, answer.outputs[name]),
    )
