"""The real Triton, without Docker."""
