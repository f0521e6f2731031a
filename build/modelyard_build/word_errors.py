"""Word error rate: how many words are wrong, missing or too many, of those that were said."""

from __future__ import annotations

from collections.abc import Sequence


def word_error_rate(texts: Sequence[str], transcripts: Sequence[str]) -> float:
    """Over all texts together, after OpenAI's normalisation of English (arXiv:2212.04356, appendix C).

    Case, punctuation and fillers go; contractions and titles are spelled out, and numbers become digits. British and
    American spellings stay as they are.

    Args:
        texts: what was understood.
        transcripts: what was said, one for each.

    Returns:
        0 where every word is right; above 1 where more words are wrong than were said.
    """
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normalised = EnglishTextNormalizer({})
    pairs = [
        (normalised(text).split(), normalised(transcript).split())
        for text, transcript in zip(texts, transcripts, strict=True)
    ]
    return sum(distance(*pair) for pair in pairs) / sum(len(said) for _, said in pairs)


def distance(found: Sequence[str], said: Sequence[str]) -> int:
    """The least number of words to change, add or take away (Levenshtein)."""
    row = list(range(len(found) + 1))
    for number, word in enumerate(said, 1):
        before, row = row, [number]
        for place, other in enumerate(found):
            row.append(min(before[place] + (word != other), before[place + 1] + 1, row[place] + 1))
    return row[-1]
