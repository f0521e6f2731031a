"""SmolLM2-135M-Instruct in PyTorch: a Llama of 30 layers, 9 query and 3 key heads (Apache-2.0), out of its GGUF file.

The file holds the matrices in 4 bits (Q4_1: blocks of 32 numbers, each q·d + m with q from 0 to 15), the embedding in
8. What stands there is the model: PyTorch computes with exactly these numbers, in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits
from tokenizers.pre_tokenizers import Sequence as InTurn
from transformers import AutoModelForCausalLM, AutoTokenizer

from modelyard_build.quiet_transformers import quiet

# What the decoder writes for bytes that are no whole character, yet.
UNFINISHED = "\ufffd"
BATCH = 16


@dataclass(frozen=True)
class LanguageModel:
    """The net and what stands before and behind it.

    Attributes:
        net: transformers' LlamaForCausalLM, float32, in eval mode.
        tokenizer: transformers' tokenizer, with the chat template.
    """

    net: Any
    tokenizer: Any
    # A version's golden samples are some of the items that it is proven with.
    _answers: dict[tuple[tuple[int, ...], int], list[int]] = field(default_factory=dict)

    def prompt_of(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """The tokens of messages, up to where the assistant speaks."""
        text = self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def answer(self, prompt: Sequence[int], max_tokens: int) -> list[int]:
        """The likeliest token after the other, up to and with the end of the text where it comes before max_tokens."""
        return self.answers([prompt], [max_tokens])[0]

    def answers(self, prompts: Sequence[Sequence[int]], most: Sequence[int]) -> list[list[int]]:
        """Answers to several prompts, `BATCH` of them together: a step costs about as much for all as for one."""
        keys = [(tuple(prompt), tokens) for prompt, tokens in zip(prompts, most, strict=True)]
        new = sorted({key for key in keys if key not in self._answers}, key=lambda key: key[1])
        for start in range(0, len(new), BATCH):
            self._generate(new[start : start + BATCH])
        return [self._answers[key] for key in keys]

    def _generate(self, keys: Sequence[tuple[tuple[int, ...], int]]) -> None:
        """Answers that are not known yet; shorter prompts are filled up in front, where the mask hides it."""
        end, longest = self.tokenizer.eos_token_id, max(len(prompt) for prompt, _ in keys)
        given = torch.tensor([[end] * (longest - len(prompt)) + list(prompt) for prompt, _ in keys])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt, _ in keys])
        most = max(tokens for _, tokens in keys)
        with torch.inference_mode():
            whole = self.net.generate(
                given, attention_mask=mask, max_new_tokens=most, do_sample=False, pad_token_id=end
            )
        for (prompt, tokens), row in zip(keys, whole[:, longest:].tolist(), strict=True):
            ended = row.index(end) + 1 if end in row else len(row)
            self._answers[prompt, tokens] = row[: min(ended, tokens)]

    def text_of(self, tokens: Sequence[int]) -> str:
        """What tokens say; those that speak to the model say nothing."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def pieces_of(self, tokens: Sequence[int]) -> Iterator[tuple[str, int]]:
        """An answer as a stream has it: a piece wherever whole characters have come, and the number of its tokens."""
        said, counted = "", 0
        for count in range(1, len(tokens) + 1):
            last = count == len(tokens)
            text = self.text_of(tokens[:count])
            text = text if last else text.rstrip(UNFINISHED)
            if last or text != said:
                yield text[len(said) :], count - counted
                said, counted = text, count


@functools.lru_cache(maxsize=1)
def load_language_model(path: Path) -> LanguageModel:
    """Reads a GGUF file; the last one is kept, as reading takes longer than an answer.

    transformers reads the net's matrices back into float32. Of the tokenizer it leaves out that this family of models
    (`tokenizer.ggml.pre` is smollm) takes every digit alone, which only signs such as ½ show.
    """
    with quiet():
        net = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    digits = InTurn([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.backend_tokenizer.pre_tokenizer = digits
    return LanguageModel(net, tokenizer)
