"""The transformers library without its bars and tables on the terminal: what they say is raised, or of no use there."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

from transformers.utils import logging


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps tables of weights and bars off the terminal."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # The bar of a GGUF file asks nobody.
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
