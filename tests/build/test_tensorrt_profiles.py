"""Optimization profiles: what a model's declaration becomes, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from modelyard_build.errors import ArtefactFailed
from modelyard_build.model import Axis, Model, Tensor
from modelyard_build.tensorrt_engine.profiles import Profile, Shapes, check_profiles, one_profile, short_and_long
from modelyard_build.tensorrt_engine.runner import nearest_profile
from support.small_models import POOLER


def model(*dims: int | Axis, max_batch_size: int = 16, optimum_batch_size: int = 8) -> Model:
    return dataclasses.replace(
        POOLER,
        inputs=(Tensor("x", "FP32", dims),),
        max_batch_size=max_batch_size,
        optimum_batch_size=optimum_batch_size,
    )


def profile(low: tuple[int, ...], opt: tuple[int, ...], high: tuple[int, ...]) -> Profile:
    return Profile({"x": Shapes(low, opt, high)})


def test_the_declared_ranges_become_one_profile() -> None:
    """Batch 1 to max_batch_size, each axis to its limits, tuned for the optimum."""
    found = one_profile(model(Axis("height", 32, 640, 224), 3))
    assert found == (profile((1, 32, 3), (8, 224, 3), (16, 640, 3)),)


def test_the_optimum_batch_is_at_most_the_largest() -> None:
    """A model that takes fewer items than the usual optimum is tuned for what it takes."""
    [found] = one_profile(model(4, max_batch_size=2, optimum_batch_size=8))
    assert found.inputs["x"].opt == (2, 4)


def test_a_second_profile_is_for_the_short() -> None:
    """It ends at the optimum of the first, which still holds everything."""
    both = short_and_long(model(Axis("sequence", 3, 256)))
    assert [(item.inputs["x"].opt, item.inputs["x"].max) for item in both] == [
        ((8, 128), (16, 256)),
        ((8, 64), (16, 128)),
    ]
    check_profiles(model(Axis("sequence", 3, 256)), both)


@pytest.mark.parametrize("dims", [(4,), (Axis("sequence", 1, 1),), (Axis("sequence", 1, 512, 16), Axis("width", 7, 9))])
def test_derived_profiles_pass_their_own_check(dims: tuple[int | Axis, ...]) -> None:
    """Whatever is declared."""
    for derive in (one_profile, short_and_long):
        check_profiles(model(*dims), derive(model(*dims)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no optimization profile holds every shape"),
        ([profile((1, 2), (8, 12), (15, 24))], r"largest are x \[16, 24\], the profiles end at x \[15, 24\]"),
        ([profile((1, 3), (8, 12), (16, 24))], "no optimization profile holds every shape"),
        ([profile((1, 2), (8, 12), (16, 23)), profile((1, 13), (8, 20), (16, 24))], "no optimization profile holds"),
        ([profile((2, 2), (8, 12), (16, 24))], "begins at a batch of 2; it must be 1"),
        ([profile((1, 2), (17, 12), (16, 24))], "must go up from min over opt to max"),
        ([profile((1,), (8,), (16,))], "each needs 2 sizes, the batch first"),
        ([Profile({"z": Shapes((1, 2), (8, 12), (16, 24))})], "names z; the model's inputs are x"),
    ],
)
def test_profiles_that_do_not_hold_the_declaration_are_refused(given: list[Profile], said: str) -> None:
    """Triton would refuse the request, or the library the engine, much later and with less to go by."""
    with pytest.raises(ArtefactFailed, match=said):
        check_profiles(model(Axis("sequence", 2, 24)), given)


@pytest.mark.parametrize(
    ("shape", "index"), [((1, 3), 1), ((8, 60), 1), ((16, 128), 0), ((16, 129), 0), ((17, 3), None)]
)
def test_the_profile_that_triton_takes(shape: tuple[int, int], index: int | None) -> None:
    """Of those that hold the shapes the one with the nearest optimum; none where none does."""
    profiles = short_and_long(model(Axis("sequence", 3, 256)))
    assert nearest_profile(profiles, {"x": shape}) == index
