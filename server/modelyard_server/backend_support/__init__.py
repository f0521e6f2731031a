"""What the Python-based Triton backends share: decisions without I/O, and without Triton's own module.

Each backend is a folder under ``backends/`` whose `model.py` Triton's stub imports; everything that two of them need
stands here, so that ``backends/`` holds nothing that Triton could take for a backend.
"""
