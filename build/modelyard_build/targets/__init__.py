"""One file for each Triton backend that takes a built artefact."""
