"""A module run in one floating-point dtype throughout, whatever its code names.

`module.double()` turns parameters and buffers; a `torch.ones(3)`, a `.float()` or a `dtype=torch.float32` in forward
would meet them with float32 tensors, or round in between. Inside `OneDtype(torch.float64)` each of them gives float64,
so that the reference is one, and modules whose code names float32 have one at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map


class OneDtype(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch's own
    """While it lasts, operators see and make tensors of a dtype in place of float32 ones.

    Args:
        dtype: of floating-point numbers.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._dtype = dtype

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs one operator."""
        found = function(*tree_map(self._turn, tuple(arguments)), **tree_map(self._turn, dict(keywords or {})))
        return tree_map(self._turn, found)

    def _turn(self, value: Any) -> Any:
        """A tensor, or a dtype among the arguments."""
        if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
            return value.to(self._dtype)
        return self._dtype if value is torch.float32 else value
