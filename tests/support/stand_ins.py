"""Stand-ins for the systems: the same names and signatures, an arithmetic one can follow.

A token is a word. Of a text only the first `MAX_TOKENS` count. Its embedding, by `text_embedder` and
`passage_embedder`, is `embedding(text)`, the probability of each of the labels, by `ticket_classifier`,
`probabilities(text)`. What is on an image, by `image_classifier` and `imaging_triage`, its first byte says.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from support.client_models import write_model
from support.small_demand import write_small_demand

DIMENSIONS = 384
MAX_TOKENS = 16
MAX_BATCH_SIZE = 4
LABELS = ("loan", "card", "mortgage: home", "account", "report", "collection", "transfer", "student loan")


def words(text: str) -> list[str]:
    """The tokens that count."""
    return text.split()[:MAX_TOKENS]


def ids(text: str) -> list[int]:
    """Each token as a number."""
    return [sum(word.encode()) for word in words(text)]


def embedding(text: str) -> npt.NDArray[np.float32]:
    """float32 [384] of unit length: how often each of 384 remainders occurs among the tokens."""
    counts = np.bincount([number % DIMENSIONS for number in ids(text)], minlength=DIMENSIONS)
    vector: npt.NDArray[np.float32] = (counts / np.linalg.norm(counts)).astype(np.float32)
    return vector


def probabilities(text: str) -> npt.NDArray[np.float32]:
    """float32 [8], sums to one."""
    counts = np.bincount([number % len(LABELS) for number in ids(text)], minlength=len(LABELS)) + 0.1 / len(LABELS)
    shares: npt.NDArray[np.float32] = (counts / counts.sum()).astype(np.float32)
    return shares


_TOKENIZER_CONFIG = f"""
    backend: "python"
    max_batch_size: {MAX_BATCH_SIZE}
    input {{ name: "text" data_type: TYPE_STRING dims: [ 1 ] }}
    output {{ name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] }}
    output {{ name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] }}
    output {{ name: "token_count" data_type: TYPE_INT32 dims: [ 1 ] }}
    parameters {{ key: "max_length" value: {{ string_value: "{MAX_TOKENS}" }} }}
"""
_TOKENIZER_MODEL = f"""
    class TritonPythonModel:
        def execute(self, requests):
            return [self.answer(tensor(request, "text").as_numpy()[:, 0]) for request in requests]

        def answer(self, texts):
            split = [text.decode().split() for text in texts]
            kept = [[sum(word.encode()) for word in words[:{MAX_TOKENS}]] for words in split]
            width = max(map(len, kept))
            ids = np.array([row + [0] * (width - len(row)) for row in kept], np.int64)
            mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in kept], np.int64)
            counts = np.array([[len(words)] for words in split], np.int32)
            return respond(
                pb_utils.Tensor("input_ids", ids),
                pb_utils.Tensor("attention_mask", mask),
                pb_utils.Tensor("token_count", counts),
            )
"""
_ENCODER_MODEL = """
    class TritonPythonModel:
        def execute(self, requests):
            return [
                self.answer(tensor(request, "input_ids").as_numpy(), tensor(request, "attention_mask").as_numpy())
                for request in requests
            ]

        def answer(self, ids, mask):
            rows = [
                np.bincount(row[kept > 0] % {size}, minlength={size}) + {smoothing} for row, kept in zip(ids, mask)
            ]
            values = np.stack([row / {norm} for row in rows]).astype(np.float32)
            return respond(pb_utils.Tensor("{output}", values))
"""


_IMAGES_CONFIG = f"""
    backend: "python"
    max_batch_size: {MAX_BATCH_SIZE}
    input {{ name: "image" data_type: TYPE_STRING dims: [ 1 ] }}
    output {{ name: "probabilities" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt" }}
"""
_IMAGES_MODEL = """
    class TritonPythonModel:
        def execute(self, requests):
            return [self.answer(tensor(request, "image").as_numpy()[:, 0]) for request in requests]

        def answer(self, files):
            first = np.array([[file[0] % 4] for file in files])
            shares = np.where(np.arange(4) == first, 0.7, 0.1).astype(np.float32)
            return respond(pb_utils.Tensor("probabilities", shares))
"""
IMAGE_LABELS = ("cat", "dog", "cup", "palace: imperial")
_TRIAGE_CONFIG = f"""
    backend: "python"
    max_batch_size: {MAX_BATCH_SIZE}
    input {{ name: "image" data_type: TYPE_STRING dims: [ 1 ] }}
    output {{ name: "probabilities" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" }}
    output {{ name: "label" data_type: TYPE_STRING dims: [ 1 ] }}
    output {{ name: "recommendation" data_type: TYPE_STRING dims: [ 1 ] }}
    output {{ name: "urgent_threshold" data_type: TYPE_FP32 dims: [ 1 ] }}
"""
_TRIAGE_MODEL = """
    class TritonPythonModel:
        def execute(self, requests):
            return [self.answer(tensor(request, "image").as_numpy()[:, 0]) for request in requests]

        def answer(self, files):
            share = np.array([[file[0] / 255] for file in files], np.float32)
            sick = share[:, 0] >= 0.5
            return respond(
                pb_utils.Tensor("probabilities", np.concatenate([1 - share, share], 1)),
                pb_utils.Tensor("label", np.where(sick, b"PNEUMONIA", b"NORMAL").astype(object)[:, None]),
                pb_utils.Tensor("recommendation", np.where(share >= 0.1, b"urgent", b"routine").astype(object)),
                pb_utils.Tensor("urgent_threshold", np.full_like(share, 0.1)),
            )
"""

_GENERATOR_CONFIG = """
    backend: "python"
    max_batch_size: 0
    model_transaction_policy { decoupled: true }
    input { name: "seed" data_type: TYPE_INT64 dims: [ 1 ] }
    input { name: "count" data_type: TYPE_INT64 dims: [ 1 ] }
    input { name: "first_index" data_type: TYPE_INT64 dims: [ 1 ] optional: true }
    output { name: "image" data_type: TYPE_STRING dims: [ 1 ] }
    output { name: "index" data_type: TYPE_INT64 dims: [ 1 ] }
    output { name: "seed" data_type: TYPE_INT64 dims: [ 1 ] }
"""
_GENERATOR_MODEL = """
    class TritonPythonModel:
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                seed, count = (int(tensor(request, name).as_numpy()[0]) for name in ("seed", "count"))
                for index in range(count):
                    sender.send(
                        respond(
                            pb_utils.Tensor("image", np.array([b"image %d of %d" % (index, seed)], np.object_)),
                            pb_utils.Tensor("index", np.array([index], np.int64)),
                            pb_utils.Tensor("seed", np.array([seed], np.int64)),
                        )
                    )
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""

_SPEECH_CONFIG = """
    backend: "python"
    max_batch_size: 1
    model_transaction_policy { decoupled: true }
    input { name: "audio" data_type: TYPE_STRING dims: [ 1 ] }
    input { name: "sample_rate" data_type: TYPE_INT32 dims: [ 1 ] optional: true }
    input { name: "language" data_type: TYPE_STRING dims: [ 1 ] optional: true }
    input { name: "beam_size" data_type: TYPE_INT32 dims: [ 1 ] optional: true }
    output { name: "start" data_type: TYPE_FP32 dims: [ 1 ] }
    output { name: "end" data_type: TYPE_FP32 dims: [ 1 ] }
    output { name: "text" data_type: TYPE_STRING dims: [ 1 ] }
    output { name: "language" data_type: TYPE_STRING dims: [ 1 ] }
"""
_SPEECH_MODEL = """
    class TritonPythonModel:
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                for second in range(3):
                    sender.send(
                        respond(
                            pb_utils.Tensor("start", np.array([[second]], np.float32)),
                            pb_utils.Tensor("end", np.array([[second + 0.5]], np.float32)),
                            pb_utils.Tensor("text", np.array([[b"second %d" % second]], np.object_)),
                            pb_utils.Tensor("language", np.array([[b"en"]], np.object_)),
                        )
                    )
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
_CHAT_CONFIG = """
    backend: "python"
    max_batch_size: 0
    model_transaction_policy { decoupled: true }
    input { name: "messages" data_type: TYPE_STRING dims: [ 1 ] }
    input { name: "sampling_parameters" data_type: TYPE_STRING dims: [ 1 ] optional: true }
    input { name: "stream" data_type: TYPE_BOOL dims: [ 1 ] optional: true }
    input { name: "exclude_input_in_output" data_type: TYPE_BOOL dims: [ 1 ] optional: true }
    input { name: "return_finish_reason" data_type: TYPE_BOOL dims: [ 1 ] optional: true }
    input { name: "return_num_input_tokens" data_type: TYPE_BOOL dims: [ 1 ] optional: true }
    input { name: "return_num_output_tokens" data_type: TYPE_BOOL dims: [ 1 ] optional: true }
    output { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] }
    output { name: "finish_reason" data_type: TYPE_STRING dims: [ -1 ] }
    output { name: "num_input_tokens" data_type: TYPE_UINT32 dims: [ 1 ] }
    output { name: "num_output_tokens" data_type: TYPE_UINT32 dims: [ -1 ] }
"""
_CHAT_MODEL = """
    import json

    class TritonPythonModel:
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                said = json.loads(tensor(request, "messages").as_numpy()[0])[-1]["content"]
                words = ["You", " said:", *(f" {word}" for word in said.split())]
                for position, word in enumerate(words):
                    reason = b"stop" if position == len(words) - 1 else b""
                    sender.send(
                        respond(
                            pb_utils.Tensor("text_output", np.array([word.encode()], np.object_)),
                            pb_utils.Tensor("finish_reason", np.array([reason], np.object_)),
                            pb_utils.Tensor("num_input_tokens", np.array([len(said)], np.uint32)),
                            pb_utils.Tensor("num_output_tokens", np.array([1], np.uint32)),
                        )
                    )
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def write_stand_ins(repository: Path) -> Path:
    """Writes the systems; returns the repository."""
    for embedder in ("text_embedder", "passage_embedder"):
        _write_system(repository, embedder, "embedding", DIMENSIONS, "0", "np.linalg.norm(row)", label_filename="")
    _write_system(
        repository,
        "ticket_classifier",
        "probabilities",
        len(LABELS),
        f"0.1 / {len(LABELS)}",
        "row.sum()",
        label_filename='label_filename: "labels.txt"',
    )
    (repository / "ticket_classifier_encoder" / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    write_model(repository, "image_generator", _GENERATOR_CONFIG, _GENERATOR_MODEL)
    write_model(repository, "speech", _SPEECH_CONFIG, _SPEECH_MODEL)
    write_model(repository, "chat", _CHAT_CONFIG, _CHAT_MODEL)
    write_model(repository, "image_classifier", _IMAGES_CONFIG, _IMAGES_MODEL)
    (repository / "image_classifier" / "labels.txt").write_text("\n".join(IMAGE_LABELS) + "\n", encoding="utf-8")
    write_model(repository, "imaging_triage", _TRIAGE_CONFIG, _TRIAGE_MODEL)
    (repository / "imaging_triage" / "labels.txt").write_text("NORMAL\nPNEUMONIA\n", encoding="utf-8")
    return write_small_demand(repository)


def _write_system(
    repository: Path, name: str, output: str, size: int, smoothing: str, norm: str, label_filename: str
) -> None:
    write_model(repository, f"{name}_tokenizer", _TOKENIZER_CONFIG, _TOKENIZER_MODEL)
    encoder_config = f"""
        backend: "python"
        max_batch_size: {MAX_BATCH_SIZE}
        input {{ name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] }}
        input {{ name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] }}
        output {{ name: "{output}" data_type: TYPE_FP32 dims: [ {size} ] {label_filename} }}
    """
    encoder_model = _ENCODER_MODEL.format(size=size, smoothing=smoothing, norm=norm, output=output)
    write_model(repository, f"{name}_encoder", encoder_config, encoder_model)
    write_model(repository, name, _ensemble_config(name, output, size), None)


def _ensemble_config(name: str, output: str, size: int) -> str:
    return f"""
        platform: "ensemble"
        max_batch_size: {MAX_BATCH_SIZE}
        input {{ name: "text" data_type: TYPE_STRING dims: [ 1 ] }}
        output {{ name: "{output}" data_type: TYPE_FP32 dims: [ {size} ] }}
        output {{ name: "token_count" data_type: TYPE_INT32 dims: [ 1 ] }}
        ensemble_scheduling {{
          step {{
            model_name: "{name}_tokenizer"
            model_version: -1
            input_map {{ key: "text" value: "text" }}
            output_map {{ key: "input_ids" value: "ids" }}
            output_map {{ key: "attention_mask" value: "mask" }}
            output_map {{ key: "token_count" value: "token_count" }}
          }}
          step {{
            model_name: "{name}_encoder"
            model_version: -1
            input_map {{ key: "input_ids" value: "ids" }}
            input_map {{ key: "attention_mask" value: "mask" }}
            output_map {{ key: "{output}" value: "{output}" }}
          }}
        }}
    """
