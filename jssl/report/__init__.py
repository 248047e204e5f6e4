"""The report of runs: one HTML file of pictures, curves and results, `python -m jssl.report`; and its figures as PNG."""

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
from jssl.report.run_report import write, write_pictures, write_runs

__all__ = [
  "heatmap",
  "image_grid",
  "mark_patch",
  "picture",
  "reconstruction_grid",
  "similarity_figure",
  "similarity_panels",
  "write",
  "write_pictures",
  "write_report",
  "write_runs",
]
