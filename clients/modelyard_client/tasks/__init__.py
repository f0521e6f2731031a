"""Text or image in, typed result out: one file a task. Each has a blocking and an async form with the same methods."""

from __future__ import annotations

from modelyard_client.tasks.chat import AsyncChat, Chat, Completion
from modelyard_client.tasks.daily_demand import AsyncDailyDemand, DailyDemand
from modelyard_client.tasks.demand import Calendar, Forecast, Series
from modelyard_client.tasks.demand_forecaster import AsyncDemandForecaster, DemandForecaster
from modelyard_client.tasks.image_classifier import AsyncImageClassifier, ImageClassifier
from modelyard_client.tasks.image_generator import AsyncImageGenerator, GeneratedImage, ImageGenerator
from modelyard_client.tasks.imaging_triage import AsyncImagingTriage, ImagingTriage, Triage
from modelyard_client.tasks.passage_embedder import AsyncPassageEmbedder, Hit, PassageEmbedder
from modelyard_client.tasks.speech_recogniser import AsyncSpeechRecogniser, Segment, SpeechRecogniser
from modelyard_client.tasks.text_embedder import AsyncTextEmbedder, TextEmbedder
from modelyard_client.tasks.ticket_classifier import AsyncTicketClassifier, Prediction, TicketClassifier
from modelyard_client.tasks.voice_activity import AsyncVoiceActivity, VoiceActivity

__all__ = [
    "AsyncChat",
    "AsyncDailyDemand",
    "AsyncDemandForecaster",
    "AsyncImageClassifier",
    "AsyncImageGenerator",
    "AsyncImagingTriage",
    "AsyncPassageEmbedder",
    "AsyncSpeechRecogniser",
    "AsyncTextEmbedder",
    "AsyncTicketClassifier",
    "AsyncVoiceActivity",
    "Calendar",
    "Chat",
    "Completion",
    "DailyDemand",
    "DemandForecaster",
    "Forecast",
    "GeneratedImage",
    "Hit",
    "ImageClassifier",
    "ImageGenerator",
    "ImagingTriage",
    "PassageEmbedder",
    "Prediction",
    "Segment",
    "Series",
    "SpeechRecogniser",
    "TextEmbedder",
    "TicketClassifier",
    "Triage",
    "VoiceActivity",
]
