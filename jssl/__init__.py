"""Self-supervised learning of vision transformers: methods are configs of pure functions, trained by one loop."""

__version__ = "0.1.0"
