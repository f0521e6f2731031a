"""The systems that answer with a stream, as the benchmark knows them."""

from __future__ import annotations

from collections.abc import Mapping

from measure.streaming_systems.chat import CHAT_STREAMS
from measure.streaming_systems.image_generator import IMAGE_GENERATOR
from measure.streaming_systems.speech import SPEECH_STREAMS
from measure.streaming_systems.system import Streamed
from modelyard_build.models.chat import CHAT
from modelyard_build.models.image_generator import GENERATOR
from modelyard_build.models.speech import SPEECH

SYSTEMS: Mapping[str, Streamed] = {
    GENERATOR.name: IMAGE_GENERATOR,
    CHAT.name: CHAT_STREAMS,
    SPEECH.name: SPEECH_STREAMS,
}
