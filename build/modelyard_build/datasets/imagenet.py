"""The 1,000 classes of ImageNet (ILSVRC 2012) by name, in the order of every net that is trained on it.

The first name of each WordNet synset, as in Keras' list. Two names stand there twice; here each says which it is:
`crane (bird)` and `crane (machine)`, `maillot` and `maillot, tank suit`.
"""

from __future__ import annotations

from pathlib import Path

LABELS = tuple(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines())
