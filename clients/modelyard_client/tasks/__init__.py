"""Text or image in, typed result out: one file a task. Each has a blocking and an async form with the same methods."""

from __future__ import annotations

from modelyard_client.tasks.image_classifier import AsyncImageClassifier, ImageClassifier
from modelyard_client.tasks.image_generator import AsyncImageGenerator, GeneratedImage, ImageGenerator
from modelyard_client.tasks.passage_embedder import AsyncPassageEmbedder, Hit, PassageEmbedder
from modelyard_client.tasks.text_embedder import AsyncTextEmbedder, TextEmbedder
from modelyard_client.tasks.ticket_classifier import AsyncTicketClassifier, Prediction, TicketClassifier

__all__ = [
    "AsyncImageClassifier",
    "AsyncImageGenerator",
    "AsyncPassageEmbedder",
    "AsyncTextEmbedder",
    "AsyncTicketClassifier",
    "GeneratedImage",
    "Hit",
    "ImageClassifier",
    "ImageGenerator",
    "PassageEmbedder",
    "Prediction",
    "TextEmbedder",
    "TicketClassifier",
]
