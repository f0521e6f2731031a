"""Models of the transformers library: where their files are, what goes in, what comes out."""
