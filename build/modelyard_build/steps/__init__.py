"""Sources of Python steps: each file is published as a version's model.py and runs inside Triton."""
