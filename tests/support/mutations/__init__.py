"""Configs and folders with one or a few things changed, as people and tools change them, drawn by Hypothesis."""
