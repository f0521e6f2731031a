"""PyTorch modules and the weights they are made from. The only files here that import torch at the top."""
