"""PyTorch in, one verified Triton model version out."""
