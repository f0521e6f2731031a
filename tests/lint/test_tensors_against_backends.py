"""The rules about tensors against the checks of the embedded backends, which are those of the container's.

What the rules call an error the backend refuses; what the backend refuses some rule finds. Configs and graphs are made
up, many of them wrong in one way or another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from modelyard_build.repository.lint.rule import Severity
from modelyard_build.repository.lint.rules import RULES
from modelyard_build.repository.lint.run import Finding, check
from modelyard_build.repository.lint.settings import Settings
from modelyard_build.repository.lint.subjects import Config, Model, Repository
from modelyard_build.repository.model_config import ModelConfig as Message
from modelyard_server.backend_support.autocomplete import complete, needs_completion
from modelyard_server.backend_support.errors import ModelLoadError
from modelyard_server.backend_support.model_config import ModelConfig
from modelyard_server.backend_support.signature import Signature
from modelyard_server.backends.onnxruntime.contract import check_contract
from modelyard_server.backends.onnxruntime.graph import graph_signature
from modelyard_server.backends.pytorch.contract import check_config
from modelyard_server.backends.pytorch.settings import model_settings
from modelyard_server.backends.pytorch.torchscript import TorchScriptModel
from support import torch_models

FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# These look at tensors; the container's own refusals are not those of the embedded backend.
TENSOR_RULES = [rule for rule in RULES if rule.code.startswith("MY2") and rule.code != "MY215"]
ELEMENTS: dict[str, int] = {"TYPE_FP32": TensorProto.FLOAT, "TYPE_INT64": TensorProto.INT64}
SIZES = st.sampled_from([1, 3, 4, -1])


@dataclass(frozen=True)
class Tensor:
    """An input or output, of a graph or of a config."""

    name: str
    dtype: str
    sizes: tuple[int, ...]
    more: str = ""

    def text(self, kind: str) -> str:
        """As config.pbtxt has it."""
        return f'{kind} {{ name: "{self.name}" data_type: {self.dtype} dims: {list(self.sizes)} {self.more} }}'

    def info(self) -> onnx.ValueInfoProto:
        """As ONNX has it; each open size has a name of its own."""
        shape = [f"{self.name}_{place}" if size < 0 else size for place, size in enumerate(self.sizes)]
        return helper.make_tensor_value_info(self.name, ELEMENTS[self.dtype], shape)


tensors = st.builds(
    Tensor,
    name=st.just("x"),
    dtype=st.sampled_from(list(ELEMENTS)),
    sizes=st.lists(SIZES, max_size=3).map(tuple),
)


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    """Inputs x and perhaps mask and offset (which has a default), output y a cast of x, and its declared shape any."""
    x = draw(tensors)
    y = Tensor(
        "y", draw(st.sampled_from(list(ELEMENTS))), draw(st.just(x.sizes) | st.lists(SIZES, max_size=3).map(tuple))
    )
    inputs = [x, *([Tensor("mask", "TYPE_INT64", (-1, 4))] if draw(st.booleans()) else [])]
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=ELEMENTS[y.dtype])]
    initializers = []
    if draw(st.booleans()):
        inputs.append(Tensor("offset", "TYPE_FP32", (1,)))
        initializers.append(numpy_helper.from_array(np.zeros(1, dtype=np.float32), "offset"))
    graph = helper.make_graph(nodes, "g", [each.info() for each in inputs], [y.info()], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@st.composite
def configs(draw: st.DrawFn, graph: onnx.ModelProto) -> str:
    """A config that Triton itself has nothing against: the graph's tensors, each perhaps with a mistake."""
    size = draw(st.sampled_from([0, 0, 1, 8]))
    lines = ['backend: "onnxruntime"', f"max_batch_size: {size}"]
    for kind, infos in (("input", graph.graph.input), ("output", graph.graph.output)):
        if draw(st.integers(0, 5)):
            lines += [draw(stated(kind, info, size)) for info in infos if draw(st.integers(0, 7))]
    return "\n".join(lines) + "\n"


@st.composite
def stated(draw: st.DrawFn, kind: str, info: onnx.ValueInfoProto, batch: int) -> str:
    """A graph's tensor as a config states it, right in most things."""
    own = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in info.type.tensor_type.shape.dim]
    right = own[1:] if batch else own
    dims = draw(st.just(right) | st.just(own) | st.lists(SIZES, min_size=1, max_size=3)) or [1]
    names = {element: name for name, element in ELEMENTS.items()}
    dtype = draw(st.sampled_from([names[info.type.tensor_type.elem_type]] * 5 + list(ELEMENTS)))
    name = draw(st.sampled_from([info.name] * 9 + [info.name.upper()]))
    more = ["", "", "", "reshape { shape: [ ] }" if batch and all(size == 1 for size in dims) else ""]
    if kind == "input":
        more += ["optional: true", "allow_ragged_batch: true"]
    return Tensor(name, dtype, tuple(dims), draw(st.sampled_from(more))).text(kind)


def lint(text: str, write: Any) -> list[Finding]:
    """What the rules about tensors find in a config beside an artefact."""
    with TemporaryDirectory() as folder:
        model = Path(folder, "m")
        (model / "1").mkdir(parents=True)
        (model / "config.pbtxt").write_text(text)
        write(model / "1")
        repository = Repository(Path(folder), Settings())
        return check(Config(Model(repository, model), model / "config.pbtxt"), TENSOR_RULES)


def parsed(text: str) -> ModelConfig:
    """The config as the embedded server's backends get it."""
    message = text_format.Parse(text, Message())
    return ModelConfig.from_dict(MessageToDict(message, preserving_proto_field_name=True))


def completed(config: ModelConfig, signature: Signature) -> ModelConfig:
    """The config with what the backend adds to it."""
    if not needs_completion(config):
        return config
    added = complete(config, signature)
    raw = dict(config.raw, max_batch_size=added.max_batch_size)
    raw["input"] = [*raw.get("input", []), *added.inputs]
    raw["output"] = [*raw.get("output", []), *added.outputs]
    return ModelConfig.from_dict(raw)


def onnxruntime_refuses(text: str, built: onnx.ModelProto) -> str:
    """What the backend says to it; empty: it loads."""
    try:
        signature = graph_signature(quiet_session(built), "1/model.onnx")
        check_contract(completed(parsed(text), signature), signature)
    except ModelLoadError as error:
        return str(error)
    return ""


def declares_what_it_gives(built: onnx.ModelProto) -> bool:
    """Whether the outputs have the shapes that the file says: ONNX Runtime works them out for itself."""
    (output,) = quiet_session(built).get_outputs()
    declared = [dim.dim_value or -1 for dim in built.graph.output[0].type.tensor_type.shape.dim]
    return [size if isinstance(size, int) else -1 for size in output.shape] == declared


def quiet_session(built: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session that logs no warnings."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(built.SerializeToString(), options)


def agree(findings: list[Finding], refusal: str, *, is_honest: bool = True) -> None:
    """No false error; and, where the artefact tells the truth of itself, nothing that is refused without a finding."""
    errors = [f"{finding.rule.code} {finding.message}" for finding in findings if finding.severity is Severity.ERROR]
    event("refused" if refusal else "loads")
    assert not errors or refusal, errors
    assert findings or not refusal or not is_honest, refusal


@FUZZ
@given(st.data())
def test_onnx_configs_are_judged_as_the_backend_does(data: st.DataObject) -> None:
    """Names, types, dims, batch, optional and ragged inputs, completed or listed."""
    built = data.draw(graphs())
    text = data.draw(configs(built))
    findings = lint(text, lambda folder: onnx.save(built, folder / "model.onnx"))
    agree(findings, onnxruntime_refuses(text, built), is_honest=declares_what_it_gives(built))


@cache
def script_bytes(name: str) -> bytes:
    """A class of `torch_models` as TorchScript."""
    with TemporaryDirectory() as folder:
        torch_models.save_script(getattr(torch_models, name)(), Path(folder, "model.pt"))
        return Path(folder, "model.pt").read_bytes()


NAMES = ("x", "factor", "texts", "INPUT__0", "INPUT__1", "INPUT__2", "a", "OUTPUT__0", "OUTPUT__1", "OUTPUT__2", "y__x")
torch_tensors = st.lists(
    st.builds(
        Tensor,
        name=st.sampled_from(NAMES),
        dtype=st.sampled_from(["TYPE_FP32", "TYPE_INT64", "TYPE_STRING", "TYPE_UINT16", "TYPE_BF16"]),
        sizes=st.lists(SIZES, min_size=1, max_size=2).map(tuple),
        more=st.sampled_from(["", "", "", "optional: true"]),
    ),
    max_size=3,
    unique_by=lambda tensor: tensor.name,
)


@FUZZ
@given(
    module=st.sampled_from(["Pair", "Scale", "FromDict", "Shout", "ToDict", "ToList", "Lookup"]),
    size=st.sampled_from([0, 8]),
    inputs=torch_tensors,
    outputs=torch_tensors,
)
def test_torchscript_configs_are_judged_as_the_backend_does(
    module: str, size: int, inputs: list[Tensor], outputs: list[Tensor]
) -> None:
    """Names by any convention, types, and how many there are."""
    lines = ['backend: "pytorch"', f"max_batch_size: {size}"]
    lines += [tensor.text("input") for tensor in inputs] + [
        replace(tensor, more="").text("output") for tensor in outputs
    ]
    text = "\n".join(lines) + "\n"
    findings = lint(text, lambda folder: (folder / "model.pt").write_bytes(script_bytes(module)))
    agree(findings, pytorch_refuses(text, module))


def pytorch_refuses(text: str, module: str) -> str:
    """What the backend says to it; empty: it loads."""
    config = parsed(text)
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.pt")
        path.write_bytes(script_bytes(module))
        try:
            check_config(config, "1/model.pt")
            TorchScriptModel(path, "1/model.pt", config, model_settings(config, 1), None)
        except ModelLoadError as error:
            return str(error)
    return ""
