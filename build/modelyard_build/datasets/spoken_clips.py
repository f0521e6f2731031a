"""Read sentences and spoken cards with their transcripts, out of Debian's test data of PocketSphinx (BSD-2-Clause).

Five sentences of Jane Austen (LibriVox, one reader) and five hands of cards, 16 kHz, 16 bits, mono: 34 s of speech, of
which two speakers are no measure of a language. It is a measure of two implementations of one model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from modelyard_build.assets import Asset, PinnedAsset
from modelyard_build.packages import DebianPackage

_PACKAGE = DebianPackage("pocketsphinx-testdata")
_FOLDER = "usr/share/pocketsphinx/test/data"
_BOOK = "librivox/sense_and_sensibility_01_austen_64kb"

# As the package's own `transcription` files have them, but for a word that they double ("a more a amiable").
TRANSCRIPTS: Mapping[str, str] = {
    f"{_BOOK}-0870.wav": "and mister john dashwood had then leisure to consider how much there might be prudently in "
    "his power to do for them",
    f"{_BOOK}-0880.wav": "he was not an ill disposed young man",
    f"{_BOOK}-0890.wav": "unless to be rather cold hearted and rather selfish is to be ill disposed",
    f"{_BOOK}-0920.wav": "had he married a more amiable woman he might have been made still more respectable than he "
    "was",
    f"{_BOOK}-0930.wav": "he might even have been made amiable himself",
    "cards/001.wav": "ten of clubs",
    "cards/002.wav": "four queen of clubs",
    "cards/003.wav": "seven of clubs",
    "cards/004.wav": "five five",
    "cards/005.wav": "eight of spades four of clubs seven of hearts",
}
_SHA256 = {
    f"{_BOOK}-0870.wav": "b0557cf95c974d930577e58e46b7f068c432a6e3afcc286563d88922b2a5315c",
    f"{_BOOK}-0880.wav": "fbec491ef00ee734a67f0ee318e98c51c157b479e1629ff4f4426861ecac0414",
    f"{_BOOK}-0890.wav": "5793ffbdee55fb8bfd284943a6866864c832d9d4accf2661cabd39915c84ee10",
    f"{_BOOK}-0920.wav": "40882414ef4cc51f3ff7a63bad0c8c87e7f595ffeb8209fbf756c8ebc5c28a59",
    f"{_BOOK}-0930.wav": "954adbf0b56ac8a148cbe77b39ca18d76b5f2a1e1f405565bd786ce3e68a68b7",
    "cards/001.wav": "899951e768666f27c8f8b1d4090b96fe7909cae9cec01bec0a5d5d1b8a8d566e",
    "cards/002.wav": "a3f9eae6fdb69a1231989e39a14d62388a6f52fb59666c76d95005318fadafec",
    "cards/003.wav": "00d283e46bc257ae479e4aa86593cadb541656eba1d19fc8abeece37f6a5a18b",
    "cards/004.wav": "4c44a8177f5b128b99f078cdeb918119933155574231f1833e8840d1af09c521",
    "cards/005.wav": "090f18f5f76cf8b2b43cd9e6b07823f4685a4742d9a36cd98b174a6586c18cf9",
}
SHA256 = hashlib.sha256("".join(_SHA256.values()).encode()).hexdigest()
ASSETS: Mapping[str, Asset] = {
    name: PinnedAsset(_PACKAGE, f"{_FOLDER}/{name}", sha256) for name, sha256 in _SHA256.items()
}
