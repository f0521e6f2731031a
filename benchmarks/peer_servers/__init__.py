"""Servers that people write themselves: what the embedded Triton is measured beside."""
