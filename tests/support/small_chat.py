"""A language model of a few thousand numbers in a GGUF file, and `chat` serving it: everything but the size is real."""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize

from modelyard_build.models.chat import CHAT
from modelyard_build.nets.smollm2 import LanguageModel, load_language_model

CONFIG = Path(__file__).parents[2] / "model_repository" / "chat" / "config.pbtxt"
HIDDEN, INNER, HEADS, KEY_HEADS, LAYERS, CONTEXT = 64, 96, 2, 1, 2, 8192
# A token's keys and values in the cache, in float32.
TOKEN_BYTES = 2 * LAYERS * KEY_HEADS * HIDDEN // HEADS * 4
END = "<|im_end|>"
SPECIAL = ("<|endoftext|>", "<|im_start|>", END)
# Every byte, and one that is joined of two.
WORDS = len(SPECIAL) + 257
TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def alphabet() -> list[str]:
    """How GPT-2's tokenizers write each byte as a letter."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {**{byte: chr(byte) for byte in shown}, **{byte: chr(256 + at) for at, byte in enumerate(hidden)}}
    return [letters[byte] for byte in range(256)]


def write_gguf(path: Path) -> Path:
    """A Llama of two layers at random weights, its matrices in Q4_1 and the embedding in Q8_0, as SmolLM2's."""
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    _write_settings(writer)
    _write_tokenizer(writer)

    def add(name: str, *shape: int, kind: GGMLQuantizationType = GGMLQuantizationType.Q4_1) -> None:
        values = random.standard_normal(shape).astype(np.float32) / np.float32(shape[-1] ** 0.5)
        if name == "token_embd":
            # Bytes beyond ASCII are never the likeliest: what is said is text.
            values[len(SPECIAL) + 128 : -1] *= 0.01
        writer.add_tensor(f"{name}.weight", quantize(values, kind), raw_dtype=kind)

    add("token_embd", WORDS, HIDDEN, kind=GGMLQuantizationType.Q8_0)
    keys = HIDDEN // HEADS * KEY_HEADS
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(HIDDEN, np.float32))
        for name, outputs in (("attn_q", HIDDEN), ("attn_k", keys), ("attn_v", keys), ("attn_output", HIDDEN)):
            add(f"blk.{layer}.{name}", outputs, HIDDEN)
        for name, shape in (("ffn_gate", (INNER, HIDDEN)), ("ffn_up", (INNER, HIDDEN)), ("ffn_down", (HIDDEN, INNER))):
            add(f"blk.{layer}.{name}", *shape)
    writer.add_tensor("output_norm.weight", np.full(HIDDEN, 4, np.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    return path


def _write_settings(writer: gguf.GGUFWriter) -> None:
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(WORDS)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1)


def _write_tokenizer(writer: gguf.GGUFWriter) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([*SPECIAL, *alphabet(), "he"])
    writer.add_token_types([gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * 257)
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)


def write_small_chat(repository: Path, **parameters: int) -> LanguageModel:
    """`chat` in a repository, with the project's own config, code and way of writing a version.

    Args:
        repository: where it goes.
        parameters: of the config, where they are other ones here.

    Returns:
        The same model in PyTorch.
    """
    path = write_gguf(repository.parent / "small.gguf")
    folder = repository / CHAT.name
    version = folder / "1"
    version.mkdir(parents=True)
    assert CHAT.write is not None
    CHAT.write({"gguf": path}, version)
    shutil.copyfile(CHAT.source, version / "model.py")
    for name, asset in CHAT.files.items():
        shutil.copyfile(asset.path, version / name)  # type: ignore[union-attr]  # the step's own files
    text = CONFIG.read_text()
    for name, value in parameters.items():
        before = f'key: "{name}", value: {{ string_value: "{CHAT.parameters[name]}"'
        assert before in text, name
        text = text.replace(before, f'key: "{name}", value: {{ string_value: "{value}"')
    (folder / "config.pbtxt").write_text(text)
    return load_language_model(path)
