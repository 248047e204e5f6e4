"""Public weights as networks of jssl: `load` reads files of Hugging Face, DINO, DINOv2, iBOT, I-JEPA, MAE, MoCo v3, timm."""

from jssl.interop.fit import adapt_channels, CHANNELS
from jssl.interop.load import FORMATS, load, Pretrained

__all__ = ["CHANNELS", "FORMATS", "Pretrained", "adapt_channels", "load"]
