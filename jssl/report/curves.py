"""Curves of a run as inline SVG: one small chart for each metric."""

from collections.abc import Sequence
import html
import math
import numbers

WIDTH, HEIGHT = 320, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24
MAX_BINS = 300


def ticks(low: float, high: float, count: int = 4) -> list[float]:
  """About `count` round numbers within [low, high], low < high: multiples of 1, 2 or 5 times a power of ten."""
  raw = (high - low) / count
  power = 10.0 ** math.floor(math.log10(raw))
  step = min((1, 2, 5, 10), key=lambda m: abs(math.log(m * power / raw))) * power
  first = math.ceil(low / step - 1e-9)
  return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
  """A number in few characters: 4 significant digits, thousands as k, M or G."""
  for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
    if abs(value) >= size:
      return f"{value / (1e3 if unit == 'k' else size):.4g}{unit}"
  return f"{value:.4g}"


def series(history: Sequence[dict], x: str = "step") -> dict[str, list[tuple[float, float]]]:
  """The curves of a history of metrics.

  Args:
    history: rows of `metrics.jsonl`; rows may lack metrics, and those without a number under `x` are left out.
    x: name of the abscissa.

  Returns:
    metric -> `[(x, value)]`, in order of appearance; NaN and infinities are kept, values that are no numbers are not.
  """
  curves = {}
  for row in history:
    if not _is_number(row.get(x)):
      continue
    for name, value in row.items():
      if name != x and _is_number(value):
        curves.setdefault(name, []).append((float(row[x]), float(value)))
  return curves


def _is_number(value) -> bool:
  return isinstance(value, numbers.Real) and not isinstance(value, bool)


def thin(points: list[tuple[float, float]], bins: int = MAX_BINS) -> list[tuple[float, float]]:
  """At most 2 * bins points: the lowest and the highest of each bin of consecutive points, so that spikes survive."""
  if len(points) <= 2 * bins:
    return points
  kept = []
  for i in range(bins):
    part = points[i * len(points) // bins : (i + 1) * len(points) // bins]
    kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
  return kept


def line_chart(points: list[tuple[float, float]], *, label: str) -> str:
  """An SVG element of one curve; values that are not finite interrupt it.

  Args:
    points: `(x, value)`, x increasing.
    label: read out in place of the picture; escaped here.
  """
  finite = [(x, y) for x, y in points if math.isfinite(y)]
  if not finite:
    return "<p class='note'>no finite value</p>"
  x_low, x_high = _range([x for x, _ in finite])
  y_low, y_high = _range([y for _, y in finite])

  def at(x, y):
    right = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
    return right, TOP + (y_high - y) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

  parts = [f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{html.escape(label)}'>"]
  for value in ticks(y_low, y_high):
    _, y = at(x_low, value)
    parts.append(f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}'/>")
    parts.append(f"<text x='{LEFT - 6}' y='{y + 3.5:.1f}' text-anchor='end'>{short(value)}</text>")
  for value in ticks(x_low, x_high, 3):
    x, _ = at(value, y_low)
    anchor = "end" if x > WIDTH - 2 * RIGHT else "middle"
    parts.append(f"<text x='{x:.1f}' y='{HEIGHT - 8}' text-anchor='{anchor}'>{short(value)}</text>")
  pieces, piece = [], []
  for x, y in [*thin(points), (0.0, math.nan)]:
    if math.isfinite(y):
      piece.append("{:.1f},{:.1f}".format(*at(x, y)))
    elif piece:
      pieces, piece = [*pieces, piece], []
  parts += [f"<polyline points='{' '.join(piece)}'/>" for piece in pieces]
  x, y = at(*finite[-1])
  parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='2.5'/></svg>")
  return "".join(parts)


def _range(values: list[float]) -> tuple[float, float]:
  """Lowest and highest value, apart even if all are equal."""
  low, high = min(values), max(values)
  margin = (abs(low) * 0.05 or 1.0) if low == high else 0.0
  return low - margin, high + margin


def chart_grid(curves: dict[str, list[tuple[float, float]]]) -> str:
  """HTML of one captioned chart for each curve: its name, its last value, how many values were not finite."""
  figures = []
  for name, points in curves.items():
    broken = sum(not math.isfinite(y) for _, y in points)
    last = short(points[-1][1]) + (f" <span class='warning'>{broken} not finite</span>" if broken else "")
    figures.append(
      f"<figure class='chart'><figcaption><span>{html.escape(name)}</span><b>{last}</b></figcaption>"
      f"{line_chart(points, label=f'{name} by step')}</figure>"
    )
  return f"<div class='charts'>{''.join(figures)}</div>"
