"""The classes of quality: what each accepts, what it refuses, and what the message says."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from modelyard_build.errors import VerificationFailed
from modelyard_build.export import export
from modelyard_build.model import Array, Arrays, Model
from modelyard_build.quality import EXACT, NEAR, NEAR_HALF, QUANTISED, Quality
from modelyard_build.similarity import agreement
from modelyard_build.targets import onnxruntime
from modelyard_build.verify import (
    LEAST_OWN_COSINE,
    Reference,
    Run,
    compare,
    cosine_bound,
    noise_floor,
    run_module,
)
from support.small_encoder import ENCODER, Encoder
from support.small_models import POOLER

LABELS = ("a", "b", "c", "d", "e")
LABELLED = replace(POOLER, outputs=(replace(POOLER.outputs[0], labels=LABELS),))


class Outliers(Encoder):
    """One channel of the states is far larger than the others, as in real transformers."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            for layer in self.bert.encoder.layer:
                layer.output.LayerNorm.weight[3] *= 30


OUTLIERS = replace(ENCODER, load=lambda files: Outliers().eval())


def reference_of(model: Model) -> Reference:
    return Reference.of(model, model.load({}), {})


@pytest.fixture(scope="module")
def encoder() -> Reference:
    """PyTorch's answers of the small encoder."""
    return reference_of(ENCODER)


def naive_int8(model: Model, folder: Path) -> Run:
    """What onnxruntime makes of a graph in one call: int8 weights, activations scaled as they come."""
    onnxruntime.write(export(model, model.load({}), {}), folder)
    quantize_dynamic(folder / "model.onnx", folder / "int8.onnx", weight_type=QuantType.QInt8)
    return onnxruntime.Runner(folder / "int8.onnx")


def rounded(reference: Reference, dtype: str, times: float = 1.0) -> Run:
    """Answers as far from float64's as PyTorch's own in a dtype are, so many times."""
    exact = copy.deepcopy(reference.module).double()
    low = copy.deepcopy(reference.module).to(getattr(torch, dtype))

    def run(inputs: Arrays) -> Arrays:
        right, wrong = (run_module(reference.model, module, inputs) for module in (exact, low))
        # What left the dtype's range is no rounding.
        error = {name: np.where(np.isfinite(wrong[name]), wrong[name] - right[name], 0) for name in right}
        return {name: (right[name] + times * error[name]).astype(np.float32) for name in right}

    return run


def test_naive_int8_of_a_transformer_with_outliers_is_refused(tmp_path: Path) -> None:
    """The loosest class names the cosine that it found and the one that it allows."""
    run = naive_int8(OUTLIERS, tmp_path)
    with pytest.raises(
        VerificationFailed, match=r"whose cosine to PyTorch's is 0\.9[0-8]\d*; the class quantised allows 0\.99"
    ):
        compare(reference_of(OUTLIERS), run, QUANTISED)


def test_naive_int8_that_is_good_enough_shows_its_cosine(encoder: Reference, tmp_path: Path) -> None:
    """Without outliers it passes as quantised, with its figures and without a rounding bound; never as near."""
    run = naive_int8(ENCODER, tmp_path)
    evidence = compare(encoder, run, QUANTISED)
    found = evidence["outputs"]["embedding"]
    assert 0.99 <= found["min_cosine"] < 0.9999
    assert found["bound"] is found["noise_floor"] is found["max_error_in_floors"] is None
    assert evidence["quality"]["name"] == "quantised"
    with pytest.raises(VerificationFailed, match=r"2 times PyTorch's own bfloat16 noise"):
        compare(encoder, run, NEAR)


@pytest.mark.parametrize(
    ("quality", "dtype"),
    [(NEAR, "bfloat16"), (NEAR_HALF, "float16"), (EXACT, "float32")],
    ids=["near", "near-half", "exact"],
)
def test_the_rounding_of_a_dtype_is_what_its_class_accepts(quality: Quality, dtype: str) -> None:
    """PyTorch's own answers in that dtype: accepted, within one floor; just inside the factor too, not just beyond."""
    reference = reference_of(POOLER)
    found = compare(reference, rounded(reference, dtype), quality)["outputs"]["scores"]
    assert 0 < found["max_error_in_floors"] <= 1.01
    assert found["bound"] == quality.noise_factor * found["noise_floor"]
    edge = quality.noise_factor / found["max_error_in_floors"]
    # So small a model feels the rounding in the direction of its rows, too: here it is the bound alone that decides.
    bound_alone = replace(quality, min_cosine=0.9)
    compare(reference, rounded(reference, dtype, 0.9 * edge), bound_alone)
    allowed = f"allowed is .*{quality.noise_factor:g} times PyTorch's own {dtype} noise"
    with pytest.raises(VerificationFailed, match=allowed):
        compare(reference, rounded(reference, dtype, 1.1 * edge), bound_alone)


def test_what_pytorch_cannot_hold_in_a_dtype_is_no_noise() -> None:
    """A NaN or an infinity of PyTorch's own float16 answers does not lift the bound: the finite elements set it."""
    exact, noisy = [np.array([[1.0, 2.0], [3.0, 4.0]])], [np.array([[1.5, np.nan], [np.inf, 4.0]])]
    assert noise_floor(exact, noisy, "float16") == 0.5
    assert noise_floor(exact, [np.full((2, 2), np.nan)], "float16") == 4 * np.finfo(np.float16).eps


def test_an_artefact_in_bfloat16_is_not_exact(encoder: Reference) -> None:
    """The class decides: what near accepts, exact refuses."""
    with pytest.raises(VerificationFailed, match="4 times PyTorch's own float32 noise"):
        compare(encoder, rounded(encoder, "bfloat16"), EXACT)


def test_a_runtime_error_is_a_verdict_with_the_shapes(tmp_path: Path) -> None:
    """A graph that takes one length alone: the message has the sizes at which it fails, and the runtime's reason."""
    proto = export(POOLER, POOLER.load({}), {})
    for tensor in proto.graph.input:
        tensor.type.tensor_type.shape.dim[1].dim_value = 24
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(VerificationFailed) as caught:
        compare(reference_of(POOLER), onnxruntime.Runner(tmp_path / "model.onnx"), QUANTISED)
    message = str(caught.value)
    assert message.startswith(
        "pooler: the artefact fails at input_ids [1, 2], attention_mask [1, 2], which is declared: "
    )
    assert "invalid dimensions" in message
    assert "\n" not in message


def with_largest_swapped(run: Run) -> Run:
    """The two largest elements of every row change places, and are drawn together before: nearly as good a vector."""

    def swapped(inputs: Arrays) -> Arrays:
        scores: Array = run(inputs)["scores"].copy()
        order, rows = scores.argsort(axis=1), np.arange(len(scores))
        scores[rows, order[:, -2]] = scores[rows, order[:, -1]] + 1e-6
        return {"scores": scores}

    return swapped


def test_labels_ask_for_the_same_largest_element() -> None:
    """A row that is nearly the same vector but names another class: refused where the output has labels."""
    loose = replace(QUANTISED, min_cosine=0.5, min_class_cosine=0.8)
    run = with_largest_swapped(rounded(reference_of(POOLER), "float32"))
    assert compare(reference_of(POOLER), run, loose)["outputs"]["scores"]["agreement"] == 0.0
    with pytest.raises(
        VerificationFailed, match=r"largest element where PyTorch's has it in \d+\.\d\d% of the rows; .* asks for 97%"
    ):
        compare(reference_of(LABELLED), run, loose)


def test_agreement_counts_rows_over_all_cases() -> None:
    """Three of four rows, in two cases, along the last dimension."""
    expected = [np.array([[1, 2], [2, 1]]), np.array([[[5, 0]], [[0, 5]]])]
    answers = [np.array([[1, 3], [1, 2]]), np.array([[[9, 0]], [[0, 1]]])]
    assert agreement(expected, answers) == 0.75


def test_an_order_that_an_allowed_error_turns_is_none() -> None:
    """Two classes as good as equal may change places; one that leads by more than the cosine allows may not."""
    undecided, decided = np.array([[0.30, 0.29, 0.1]]), np.array([[0.40, 0.30, 0.1]])
    swapped = [0, 1, 0]
    assert agreement([undecided], [np.array([swapped])]) == 0.0
    assert agreement([undecided], [np.array([swapped])], cosine=0.99) == 1.0
    assert agreement([decided], [np.array([swapped])], cosine=0.99) == 0.0


def test_the_classes_loosen_in_their_order() -> None:
    """Whatever a class accepts, the next one does by cosine, agreement and the task's figure."""
    for strict, loose in ((EXACT, NEAR), (EXACT, NEAR_HALF), (NEAR, QUANTISED), (NEAR_HALF, QUANTISED)):
        assert strict.min_cosine > loose.min_cosine
        assert strict.min_class_cosine > loose.min_class_cosine
        assert strict.min_agreement > loose.min_agreement
        assert strict.max_metric_loss < loose.max_metric_loss


def test_the_cosine_is_no_stricter_than_pytorch_itself() -> None:
    """Twice PyTorch's own error in bfloat16 is four times as far from a cosine of 1, down to 0.999."""
    exact = np.array([[1.0, 0.0]])

    def turned(cosine: float) -> Array:
        return np.array([[cosine, np.sqrt(1 - cosine**2)]])

    for own, bound in ((0.99999, 0.9999), (0.9999, 0.9996), (0.5, LEAST_OWN_COSINE)):
        assert cosine_bound(NEAR, [exact], [turned(own)]) == pytest.approx(bound)
    assert cosine_bound(QUANTISED, [exact], []) == QUANTISED.min_cosine
