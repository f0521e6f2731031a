"""The speech step's smaller parts: the line that a caller holds, and what is kept of a sound."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from modelyard_build.steps.speech import lifeline
from modelyard_build.steps.speech.heard import Heard, Samples, whole_chunks
from modelyard_build.steps.speech.lifeline import Lifeline, is_cut
from modelyard_build.steps.speech.windows import CHUNK

HOLD = f"""
import sys
sys.path.append({str(Path(lifeline.__file__).parent)!r})
from lifeline import Lifeline
line = Lifeline()
print(line.name, flush=True)
sys.stdin.read()
"""


def test_a_line_is_there_until_it_is_cut() -> None:
    """Each is its own; to cut it again changes nothing; a name that nobody made is cut."""
    first, second = Lifeline(), Lifeline()
    assert not is_cut(first.name)
    first.cut()
    first.cut()
    assert is_cut(first.name)
    assert not is_cut(second.name)
    second.cut()
    assert is_cut("")
    assert is_cut("x" * 32)


def test_a_name_that_is_too_long_is_cut() -> None:
    """Whoever made it up."""
    assert is_cut("x" * 500)


def test_a_process_that_dies_lets_go() -> None:
    """Killed, so that it cleans up nothing."""
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        name = process.stdout.readline().decode().strip()
        assert not is_cut(name)
        process.kill()
        process.wait()
    assert is_cut(name)


def test_what_is_not_needed_is_dropped() -> None:
    """Chunks keep their numbers; no more is held than was not forgotten."""
    sound = np.arange(10 * CHUNK + 7, dtype=np.float32)
    heard = Heard()
    heard.add(sound[: 4 * CHUNK])
    heard.add(sound[4 * CHUNK :])
    heard.forget(3)
    assert len(heard.samples) == 7 * CHUNK + 7
    np.testing.assert_array_equal(heard.chunks(3, 5), sound[3 * CHUNK : 5 * CHUNK])
    np.testing.assert_array_equal(heard.chunks(9, 11), sound[9 * CHUNK :])
    heard.forget(2)
    assert heard.start == 3 * CHUNK


def test_blocks_become_whole_chunks() -> None:
    """In their order, and the last one as it is; of nothing, nothing."""
    sound = np.arange(5 * CHUNK + 3, dtype=np.float32)

    def cut(*places: int) -> list[Samples]:
        return list(whole_chunks(iter(np.split(sound, places))))

    for blocks in (cut(100, 700, 701), cut(CHUNK), cut()):
        assert [len(block) % CHUNK for block in blocks[:-1]] == [0] * (len(blocks) - 1)
        np.testing.assert_array_equal(np.concatenate(blocks), sound)
    assert list(whole_chunks(iter([]))) == []
