"""Protobuf's text format with every byte kept: read with positions, edited as text, bound to a message."""
