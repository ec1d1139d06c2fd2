"""Tensor in, tensor out: the operations whose speed decides, each with a plain PyTorch twin. Knows no model."""
