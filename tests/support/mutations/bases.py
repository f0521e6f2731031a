"""What is mutated: this project's configs over small artefacts of their signatures, and the rules' good examples."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from modelyard_build.repository.lint.examples import example
from modelyard_build.repository.lint.rules import RULES
from support import lint_examples, onnx_models
from support.mutations.mutant import Mutant
from support.triton import IDENTITY

REPOSITORY = Path(__file__).parents[3] / "model_repository"
# The widths of the systems' answers.
SYSTEMS = {"ticket_classifier": ("probabilities", 8), "text_embedder": ("embedding", 384)}

TOKENIZER = """\
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        ids = np.ones((len(texts), 16), np.int64)
        counts = np.full((len(texts), 1), 16, np.int32)
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("input_ids", ids),
                pb_utils.Tensor("attention_mask", ids),
                pb_utils.Tensor("token_count", counts),
            ]
        )
"""

# Every form that the text format has for one and the same thing.
SYNTAX = """\
# a comment with "quotes" and { brackets
name: 'other', backend: "pyt" 'hon';
max_batch_size: 0x8
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }, < name: "z", data_type: 11; dims: 010 > ]
output: { name: "\\171" data_type: TYPE_FP32 dims: - 1 dims: 4 } # after a value
parameters { key: "a\\x62\\u00e9\\n", value: { string_value: "1" "\\x32" } }
parameters: [ { key: "c" value < string_value: '#"' > } ]
version_policy: { latest { num_versions: 1 } }
instance_group { count: 1 kind: KIND_CPU gpus: [ ] }
dynamic_batching {
  priority_levels: 1; default_priority_level: 1
  preserve_ordering: f
}
optimization { graph { level: -1 } input_pinned_memory { enable: True } eager_batching: 0 }
model_transaction_policy < decoupled: false >
"""


@cache
def bases() -> tuple[Mutant, ...]:
    """All of them, in a fixed order."""
    systems = [base for system in SYSTEMS for base in _system(system)]
    examples = [base for rule in RULES if (base := _example(rule.code)) is not None]
    return (*systems, *syntaxes(), *examples)


@cache
def syntaxes() -> tuple[Mutant, ...]:
    """Configs that no server serves, because the name is another: what is judged is the parsing alone, quickly."""
    files = {"m/config.pbtxt": SYNTAX.encode(), "m/1/model.py": IDENTITY.encode()}
    real = _real("ticket_classifier_encoder").replace(b"backend", b"name: 'other' backend")
    everything = {**files, "m/config.pbtxt": real}
    return (Mutant("syntax", files, "m", ("m",)), Mutant("syntax of the encoder", everything, "m", ("m",)))


def _system(system: str) -> list[Mutant]:
    """The steps on their own, and the ensemble with both."""
    tokenizer, encoder = f"{system}_tokenizer", f"{system}_encoder"
    parts: dict[str, dict[str, bytes | None]] = {
        tokenizer: {f"{tokenizer}/1/model.py": TOKENIZER.encode()},
        encoder: {f"{encoder}/1/model.onnx": _encoder(*SYSTEMS[system])},
        system: {f"{system}/1": None},
    }
    for name, files in parts.items():
        files[f"{name}/config.pbtxt"] = _real(name)
        for path in sorted((*(REPOSITORY / name).glob("warmup/*"), *(REPOSITORY / name).glob("labels.txt"))):
            files[path.relative_to(REPOSITORY).as_posix()] = path.read_bytes()
    together = parts[tokenizer] | parts[encoder] | parts[system]
    return [
        Mutant(tokenizer, parts[tokenizer], tokenizer, (tokenizer,)),
        Mutant(encoder, parts[encoder], encoder, (encoder,)),
        Mutant(system, together, system, (tokenizer, encoder, system)),
    ]


def _real(name: str) -> bytes:
    return (REPOSITORY / name / "config.pbtxt").read_bytes()


def _encoder(output: str, width: int) -> bytes:
    """input_ids, attention_mask INT64 [batch, sequence] -> FP32 [batch, width]: the masked mean, times a row."""
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["masked"]),
        helper.make_node("Cast", ["masked"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers", "axes"], ["mean"], keepdims=1),
        helper.make_node("MatMul", ["mean", "row"], [output]),
    ]
    inputs = [
        onnx_models.tensor(name, TensorProto.INT64, ("batch", "sequence")) for name in ("input_ids", "attention_mask")
    ]
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "axes"),
        numpy_helper.from_array(np.ones((1, width), np.float32), "row"),
    ]
    outputs = [onnx_models.tensor(output, TensorProto.FLOAT, ("batch", width))]
    return onnx_models.model(nodes, inputs, outputs, constants).SerializeToString()


def _example(code: str) -> Mutant | None:
    """A rule's good example; None where no server can serve it, it is more than files, or a compiler makes them."""
    rule = next(rule for rule in RULES if rule.code == code)
    good = example(rule, "good")
    if not good.setting("server").startswith("loads") or good.setting("server-arguments"):
        return None
    if any(file.recipe.startswith("compiled") for file in good.files):
        return None
    with tempfile.TemporaryDirectory() as folder:
        lint_examples.write(good, Path(folder))
        files: dict[str, bytes | None] = {}
        for path in sorted(Path(folder).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink():
                return None
            if path.is_file():
                files[name] = path.read_bytes()
            elif not any(path.iterdir()):
                files[name] = None
    model = good.setting("model", lint_examples.MODEL)
    if f"{model}/config.pbtxt" not in files:
        return None
    others = sorted({name.partition("/")[0] for name in files if "/config.pbtxt" in name} - {model})
    return Mutant(f"{code}.good", files, model, (*others, model))
