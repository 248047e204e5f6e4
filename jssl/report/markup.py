"""Small pieces of HTML: every string that comes from outside is escaped here, every picture becomes a part of the page."""

import base64
from collections.abc import Sequence
import html
import io
from typing import Any

import numpy as np
from PIL import Image

from jssl.files import dump_json
from jssl.report.figures import png_bytes, to_rgb

LARGEST_SIDE = 256  # pixels of a picture in the page
PNG_SIDE = 40  # up to which a picture is kept as it is; a larger one is a JPEG


def escape(value: Any) -> str:
  """Text, safe within elements and within quoted attributes."""
  return html.escape(str(value))


def base64_text(data: bytes) -> str:
  return base64.b64encode(data).decode()


def picture_uri(image: np.ndarray, *, side: int = LARGEST_SIDE, exact: bool = False) -> str:
  """An image, see `to_rgb`, as the address of an `img`: PNG if it is small or must be `exact`, otherwise JPEG.

  Args:
    image: shrunk to `side`, if its longer side is longer, unless it must be exact.
    side: in pixels.
    exact: of maps of few colours, whose edges JPEG would blur.
  """
  if exact:
    return "data:image/png;base64," + base64_text(png_bytes(image))
  shown = Image.fromarray(np.ascontiguousarray(to_rgb(image)))
  if max(shown.size) > side:
    shown.thumbnail((side, side), Image.Resampling.LANCZOS)
  if max(shown.size) <= PNG_SIDE:
    return "data:image/png;base64," + base64_text(png_bytes(np.asarray(shown)))
  return "data:image/jpeg;base64," + base64_text(jpeg_bytes(shown))


def jpeg_bytes(image: Image.Image, quality: int = 88) -> bytes:
  buffer = io.BytesIO()
  image.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
  return buffer.getvalue()


def img(address: str, alt: str, *, classes: str = "") -> str:
  return f"<img class='{classes}' alt='{escape(alt)}' src='{address}'>"


def note(text: str) -> str:
  return f"<p class='note'>{escape(text)}</p>"


def caption(look: str, *, otherwise: str = "") -> str:
  """What to look for in a picture, and what it would look like if nothing had been learnt."""
  nothing = f" <span class='nothing'><b>If nothing had been learnt:</b> {escape(otherwise)}</span>" if otherwise else ""
  return f"<p class='look'>{escape(look)}{nothing}</p>"


def strips(rows: Sequence[tuple[str, Sequence[np.ndarray]]], *, exact: Sequence[bool] | None = None) -> str:
  """Rows of pictures, one column an example, each with its label; rows of one picture may be as wide as the page.

  Args:
    rows: `(label, images)`, images as for `to_rgb`.
    exact: whether a row holds maps, see `picture_uri`.
  """
  parts = []
  for number, (label, images) in enumerate(rows):
    sharp = bool(exact and exact[number])
    shown = "".join(img(picture_uri(image, exact=sharp), f"{label}, {i + 1}") for i, image in enumerate(images))
    parts.append(f"<div class='strip'><div class='label'>{escape(label)}</div><div class='images'>{shown}</div></div>")
  return f"<div class='strips'>{''.join(parts)}</div>"


def data_block(name: str, value: Any) -> str:
  """Data for the page's script: JSON in which nothing can end the element that holds it."""
  text = (
    dump_json(value, separators=(",", ":")).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
  )
  return f"<script type='application/json' id='{escape(name)}'>{text}</script>"
