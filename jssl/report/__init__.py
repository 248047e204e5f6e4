"""The report of a run: figures as PNG, curves as SVG, and the one HTML file that holds them."""

from jssl.report.figures import (
  heatmap,
  image_grid,
  mark_patch,
  picture,
  reconstruction_grid,
  similarity_figure,
  similarity_panels,
)
from jssl.report.page import write_report

__all__ = [
  "heatmap",
  "image_grid",
  "mark_patch",
  "picture",
  "reconstruction_grid",
  "similarity_figure",
  "similarity_panels",
  "write_report",
]
