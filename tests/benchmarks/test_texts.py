"""Texts of an exact length."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers

from measure.texts import beginning


def tokenizer() -> Tokenizer:
    """Words, of which `unhappy` is two tokens."""
    made = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "b": 2, "un": 3, "##happy": 4}, unk_token="[UNK]"))  # noqa: S106  # a token of text
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def test_a_text_is_cut_where_so_many_tokens_end() -> None:
    """Whole words only: a text whose word would be cut, or that is too short, is none."""
    assert beginning(tokenizer(), "a b unhappy a", 2) == "a b"
    assert beginning(tokenizer(), "a b unhappy a", 4) == "a b unhappy"
    assert beginning(tokenizer(), "a b unhappy a", 3) == ""
    assert beginning(tokenizer(), "a b", 3) == ""
