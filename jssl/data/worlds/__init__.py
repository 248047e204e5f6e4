"""Images that are drawn: every one of them known, in as many as one likes."""

from jssl.data.worlds.glyphs import glyphs

__all__ = ["glyphs"]
