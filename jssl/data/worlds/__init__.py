"""Images that are drawn: every one of them known, in as many as one likes."""

from jssl.data.worlds.glyphs import load_glyphs

__all__ = ["load_glyphs"]
