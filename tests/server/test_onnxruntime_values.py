"""Strings and bfloat16 between Triton's Python API and a runtime, and when cancellation is asked for."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modelyard_server.backend_support import dlpack, strings
from modelyard_server.backend_support.cancellation import WORTH_ASKING_S, Cancellation
from modelyard_server.backend_support.errors import RequestError


@given(st.lists(st.text(), max_size=6))
def test_strings_come_out_as_text(texts: list[str]) -> None:
    """Any text, empty ones and embedded NUL included, in any shape."""
    array = np.array([text.encode() for text in texts] + [b"x"], dtype=np.object_).reshape(1, -1)
    decoded = strings.decode("text", array)
    assert decoded.shape == array.shape
    assert decoded.dtype == np.object_
    assert decoded[0].tolist() == [*texts, "x"]


def test_no_strings_keep_their_shape() -> None:
    """A zero-size tensor."""
    assert strings.decode("text", np.empty((2, 0), dtype=np.object_)).shape == (2, 0)


def test_what_is_not_utf_8_is_refused_with_its_place() -> None:
    """The message names the input, the element and the byte."""
    array = np.array([[b"fine", b"ab\xff"]], dtype=np.object_)
    with pytest.raises(RequestError, match="input 'text', element 1: expected UTF-8, got byte 0xff at position 2"):
        strings.decode("text", array)


def test_bfloat16_is_handed_over_without_a_copy() -> None:
    """PyTorch, a consumer of DLPack, sees the same numbers in the same memory."""
    words = np.array([[0x3FC0, 0xC040]], dtype=np.uint16)
    taken = torch.utils.dlpack.from_dlpack(dlpack.bfloat16_to_dlpack(words))
    assert taken.dtype == torch.bfloat16
    assert taken.tolist() == [[1.5, -3.0]]
    assert taken.data_ptr() == words.ctypes.data


def test_memory_that_was_handed_over_is_held_until_it_is_let_go() -> None:
    """The consumer may keep it longer than we do, and nothing leaks."""
    held = len(dlpack._shared)
    taken = torch.utils.dlpack.from_dlpack(dlpack.bfloat16_to_dlpack(np.full((3, 3), 0x3F80, dtype=np.uint16)))
    gc.collect()
    assert len(dlpack._shared) == held + 1
    assert (taken == 1).all()
    del taken
    gc.collect()
    assert len(dlpack._shared) == held


@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (1,)])
def test_bfloat16_is_taken_without_a_copy(shape: tuple[int, ...]) -> None:
    """The words of a capsule of PyTorch's, which stays alive as long as the view."""
    tensor = torch.arange(int(np.prod(shape)), dtype=torch.bfloat16).reshape(shape)
    words = dlpack.words_from_dlpack(tensor.__dlpack__())
    expected = tensor.view(torch.uint16).numpy().copy()
    address = tensor.data_ptr()
    del tensor
    gc.collect()
    assert words.shape == shape
    assert (words == expected).all()
    assert not words.size or words.ctypes.data == address


def test_cancellation_is_asked_for_where_a_run_is_worth_the_question() -> None:
    """Not before the first run, not for a fast model, yes for a slow one; the last run counts."""
    cancellation = Cancellation()
    assert not cancellation.worth_asking()
    cancellation.observe(32 * WORTH_ASKING_S, requests=32)
    assert cancellation.worth_asking()
    cancellation.observe(31 * WORTH_ASKING_S, requests=32)
    assert not cancellation.worth_asking()


def test_a_batch_of_nothing_takes_no_time() -> None:
    """A batch whose requests were all refused."""
    cancellation = Cancellation()
    cancellation.observe(0.0, requests=0)
    assert not cancellation.worth_asking()
