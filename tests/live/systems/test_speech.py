"""`speech` with its real weights: built, proven, and held against what is said in the clips."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard_build import pipeline
from modelyard_build.assets import fetch
from modelyard_build.datasets import spoken_clips
from modelyard_build.errors import AssetUnavailable
from modelyard_build.models import speech
from modelyard_client import Client
from modelyard_client.tasks import SpeechRecogniser
from modelyard_ops.building import serve_scratch, server_on_free_ports
from support.candidates import declare_only
from support.silent import Silent

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(3600)]

SENTENCE = "librivox/sense_and_sensibility_01_austen_64kb-0930.wav"


def test_sentences_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many words are wrong as in transformers, and few; a beam changes no sentence, nor does an unknown language."""
    declare_only(monkeypatch, *speech.MODELS, file="models/speech.py")
    try:
        *_, whole = pipeline.build([], tmp_path, serve_scratch, Silent())
    except AssetUnavailable as error:
        pytest.skip(str(error))
    assert whole.metrics["served"] == whole.metrics["pytorch"]
    assert whole.metrics["served"]["word error rate"] < 0.1
    clip = fetch(spoken_clips.ASSETS, print)[SENTENCE]
    with (
        server_on_free_ports(tmp_path) as server,
        Client(f"grpc://{server.grpc_url}", deadline=120) as client,
    ):
        for wishes in ({}, {"language": "en"}, {"beam_size": 5}):
            (segment,) = SpeechRecogniser(client).transcribe(clip, **wishes)
            assert segment.text == "He might even have been made amiable himself."
            assert segment.language == "en"
            assert 0 <= segment.start < segment.end <= 3.3
