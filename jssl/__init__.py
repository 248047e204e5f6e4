"""Self-supervised learning of vision transformers: methods are configs of pure functions, trained by one loop."""

from jssl import xla

xla.set_safe_flags()  # before a backend starts

__version__ = "0.1.0"
