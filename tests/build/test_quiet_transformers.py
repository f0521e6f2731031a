"""What the transformers library shows while it reads a model stays off the terminal, and only meanwhile."""

from __future__ import annotations

import pytest
from tqdm.auto import tqdm  # type: ignore[import-untyped]
from transformers.utils import logging

from modelyard_build.quiet_transformers import quiet


def test_nothing_is_shown_meanwhile(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a warning of the library's nor a bar, its own or one past its settings; afterwards both are back."""
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with quiet():
        logging.get_logger("transformers").warning("a table of weights")
        list(logging.tqdm(range(3), desc="weights"))
        list(tqdm(range(3), desc="tensors"))
    assert capsys.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_settings_come_back_after_an_error() -> None:
    """A file that cannot be read silences nobody else."""
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with pytest.raises(OSError, match="no such model"), quiet():
        raise OSError("no such model")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
