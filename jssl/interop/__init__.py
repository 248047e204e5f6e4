"""Public weights as networks of jssl, and back: `load` reads Hugging Face, DINO, DINOv2, DINOv3, iBOT, I-JEPA, MAE, MoCo v3.

And timm, torchvision and big_vision; `save` writes Hugging Face, timm and big_vision.
"""

from jssl.interop.fit import adapt_channels, CHANNELS
from jssl.interop.formats import Preprocessing
from jssl.interop.load import FORMATS, load
from jssl.interop.pretrained import Pretrained
from jssl.interop.save import GOALS, save

__all__ = ["CHANNELS", "FORMATS", "GOALS", "Preprocessing", "Pretrained", "adapt_channels", "load", "save"]
