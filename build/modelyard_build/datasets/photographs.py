"""Photographs that scikit-image and scikit-learn bring with them: some to verify on, others to calibrate with.

Each has its own licence, of those that let anyone use it; see the packages' README beside the files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from modelyard_build.assets import PinnedAsset
from modelyard_build.packages import Wheel

_SCIKIT_IMAGE = Wheel("scikit-image", "0.26.0", python_version="3.11")
_SCIKIT_LEARN = Wheel("scikit-learn", "1.9.1", python_version="3.11")


def _of_scikit_image(name: str, sha256: str) -> PinnedAsset:
    return PinnedAsset(_SCIKIT_IMAGE, f"skimage/data/{name}", sha256)


def _of_scikit_learn(name: str, sha256: str) -> PinnedAsset:
    return PinnedAsset(_SCIKIT_LEARN, f"sklearn/datasets/images/{name}", sha256)


# A photograph that is stored as one comes first, and the smallest: samples that are kept are taken from the front.
_VERIFIED = (
    _of_scikit_image("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
    _of_scikit_learn("china.jpg", "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29"),
    _of_scikit_learn("flower.jpg", "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638"),
    _of_scikit_image("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    _of_scikit_image("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    _of_scikit_image("camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a"),
    _of_scikit_image("motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"),
    _of_scikit_image("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
)
# None of these is seen by a verification; half of a stereo pair, whose other half is above, is left out.
_CALIBRATION = (
    _of_scikit_image("brick.png", "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf"),
    _of_scikit_image("clock_motion.png", "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955"),
    _of_scikit_image("coins.png", "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba"),
    _of_scikit_image("color.png", "7d2df993de2b4fa2a78e04e5df8050f49a9c511aa75e59ab3bd56ac9c98aef7e"),
    _of_scikit_image("grass.png", "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89"),
    _of_scikit_image("gravel.png", "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12"),
    _of_scikit_image("hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4"),
    _of_scikit_image("ihc.png", "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef"),
    _of_scikit_image("moon.png", "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577"),
    _of_scikit_image("page.png", "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3"),
    _of_scikit_image("retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6"),
    _of_scikit_image("text.png", "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1"),
)
VERIFIED = {asset.filename: asset for asset in _VERIFIED}
CALIBRATION = {asset.filename: asset for asset in _CALIBRATION}
# What is on those that show something that ImageNet has a class for: any of the names is right.
CONTENTS: Mapping[str, tuple[str, ...]] = {
    "china.jpg": ("palace", "monastery"),
    "chelsea.png": ("Egyptian cat", "tabby", "tiger cat"),
    "coffee.png": ("espresso", "cup"),
    "camera.png": ("tripod",),
    "motorcycle_left.png": ("moped", "motor scooter"),
}


def crops(files: Mapping[str, Path], names: Sequence[str], seed: int, least: float) -> Iterator[bytes]:
    """Parts of photographs as JPEG files, without end: another window and quality each time.

    Args:
        files: the photographs by name.
        names: those that are taken, in turn.
        seed: for the windows.
        least: the sides of a part, as a share (0 to 1) of the photograph's shorter side; at most they are as long.
    """
    from PIL import Image

    generator = np.random.default_rng(seed)
    images = [Image.open(files[name]).convert("RGB") for name in names]
    while True:
        for image in images:
            shorter = min(image.size)
            width, height = (
                int(length) for length in generator.integers(int(least * shorter), shorter, 2, endpoint=True)
            )
            left = int(generator.integers(0, image.width - width, endpoint=True))
            top = int(generator.integers(0, image.height - height, endpoint=True))
            file = io.BytesIO()
            part = image.crop((left, top, left + width, top + height))
            part.save(file, "JPEG", quality=int(generator.integers(60, 95)))
            yield file.getvalue()
