"""Real texts of an exact length."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

from modelyard_build.assets import fetch
from modelyard_build.datasets import complaints


def real_texts(tokenizer: Path, tokens: int, count: int) -> list[str]:
    """Beginnings of complaints that have exactly so many tokens, special ones not counted.

    Args:
        tokenizer: a tokenizer.json.
        tokens: of each text.
        count: how many.

    Raises:
        ValueError: there are not so many.
    """
    encode = Tokenizer.from_file(str(tokenizer))
    encode.no_truncation()
    encode.no_padding()
    texts = complaints.load(fetch({"test": complaints.TEST}, lambda _: None)["test"]).texts
    found = [*islice(filter(None, (beginning(encode, text, tokens) for text in texts)), count)]
    if len(found) < count:
        raise ValueError(f"only {len(found)} complaints can be cut to {tokens} tokens, expected {count}")
    return found


def beginning(tokenizer: Tokenizer, text: str, tokens: int) -> str:
    """The first words of a text, exactly so many tokens; empty where a word would have to be cut."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    words = [*encoding.word_ids, None]
    if len(words) <= tokens or words[tokens - 1] == words[tokens]:
        return ""
    kept = text[: encoding.offsets[tokens - 1][1]]
    return kept if len(tokenizer.encode(kept, add_special_tokens=False).ids) == tokens else ""
