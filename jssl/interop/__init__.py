"""Weights from elsewhere, under jssl's names: NumPy arrays in, parameters out; no other framework is imported."""

from jssl.interop import huggingface

__all__ = ["huggingface"]
