"""Curves of runs as inline SVG: one small chart for each metric, all runs over each other, with what the metric means."""

from collections.abc import Mapping, Sequence
import math
import numbers

from jssl.report.markup import data_block, escape, note
from jssl.report.meanings import meaning

WIDTH, HEIGHT = 320, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24
MAX_BINS = 150

Points = list[tuple[float, float]]


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


def series(history: Sequence[dict], x: str = "step") -> dict[str, Points]:
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


def thin(points: Points, bins: int = MAX_BINS) -> Points:
  """At most 2 * bins points: the lowest and the highest of each bin of consecutive points, so that spikes survive."""
  if len(points) <= 2 * bins:
    return points
  kept = []
  for i in range(bins):
    part = points[i * len(points) // bins : (i + 1) * len(points) // bins]
    kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
  return kept


def line_chart(curves: Mapping[str, Points], *, label: str, colours: Mapping[str, int] = {}) -> str:
  """An SVG element of a curve for each run; values that are not finite interrupt it.

  Args:
    curves: run -> `(x, value)`s, x increasing.
    label: read out in place of the picture; escaped here.
    colours: run -> number of its colour and dashes, by default in the runs' order.
  """
  finite = [(x, y) for points in curves.values() for x, y in points if math.isfinite(y)]
  if not finite:
    return "<p class='note'>no finite value</p>"
  x_low, x_high = _range([x for x, _ in finite])
  y_low, y_high = _range([y for _, y in finite])

  def at(x, y):
    right = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
    return right, TOP + (y_high - y) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

  limits = f"data-x='{x_low:.7g} {x_high:.7g}' data-y='{y_low:.7g} {y_high:.7g}'"
  parts = [f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' tabindex='0' aria-label='{escape(label)}' {limits}>"]
  for value in ticks(y_low, y_high):
    _, y = at(x_low, value)
    parts.append(f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}'/>")
    parts.append(f"<text x='{LEFT - 6}' y='{y + 3.5:.1f}' text-anchor='end'>{short(value)}</text>")
  for value in ticks(x_low, x_high, 3):
    x, _ = at(value, y_low)
    anchor = "end" if x > WIDTH - 2 * RIGHT else "middle"
    parts.append(f"<text x='{x:.1f}' y='{HEIGHT - 8}' text-anchor='{anchor}'>{short(value)}</text>")
  for number, (run, points) in enumerate(curves.items()):
    colour = f"run{colours.get(run, number) % 8}"
    parts += [f"<polyline class='{colour}' points='{piece}'/>" for piece in _pieces(points, at)]
    last = [point for point in points if math.isfinite(point[1])][-1:]
    parts += ["<circle class='{}' cx='{:.1f}' cy='{:.1f}' r='2.5'/>".format(colour, *at(*point)) for point in last]
  return "".join(parts) + "</svg>"


def _pieces(points: Points, at) -> list[str]:
  """The points of the unbroken parts of a curve, as a polyline has them."""
  pieces, piece = [], []
  for x, y in [*thin(points), (0.0, math.nan)]:
    if math.isfinite(y):
      piece.append("{:.1f},{:.1f}".format(*at(x, y)))
    elif piece:
      pieces, piece = [*pieces, " ".join(piece)], []
  return pieces


def _range(values: list[float]) -> tuple[float, float]:
  """Lowest and highest value, apart even if all are equal."""
  low, high = min(values), max(values)
  margin = (abs(low) * 0.05 or 1.0) if low == high else 0.0
  return low - margin, high + margin


def chart(metric: str, curves: Mapping[str, Points], *, colours: Mapping[str, int] = {}, words: str = "") -> str:
  """HTML of one chart: the metric's name, its last value in each run, how many were not finite, and what it means."""
  lasts = []
  for number, (run, points) in enumerate(curves.items()):
    broken = sum(not math.isfinite(y) for _, y in points)
    warning = f" <span class='warning'>{broken} not finite</span>" if broken else ""
    lasts.append(f"<b class='ink run{colours.get(run, number) % 8}'>{short(points[-1][1])}{warning}</b>")
  return (
    f"<figure class='chart'><figcaption><span>{escape(metric)}</span><span>{' '.join(lasts)}</span></figcaption>"
    f"{line_chart(curves, label=f'{metric} by step', colours=colours)}<p class='note'>{escape(words)}</p></figure>"
  )


def body(
  histories: Mapping[str, Sequence[dict]], *, losses: Sequence[str] = ("loss",), words: Mapping[str, str] = {}
) -> str:
  """HTML of all metrics of some runs: what was monitored first, then losses, then the others.

  Args:
    histories: run -> rows of `metrics.jsonl`.
    losses: names of the metrics that are losses.
    words: what losses mean, by name.
  """
  runs = {run: series(history) for run, history in histories.items()}
  metrics = dict.fromkeys(metric for curves in runs.values() for metric in curves)
  colours = {run: number for number, run in enumerate(runs)}
  groups = {
    "While it trained": [metric for metric in metrics if metric.startswith("monitor/")],
    "Losses": sorted((metric for metric in metrics if metric in losses), key=lambda metric: metric != "loss"),
    "Metrics": [metric for metric in metrics if metric not in losses and not metric.startswith("monitor/")],
  }
  parts, shown = [], []
  for title, group in groups.items():
    charts = []
    for metric in group:
      curves = {run: own[metric] for run, own in runs.items() if metric in own}
      charts.append(chart(metric, curves, colours=colours, words=meaning(metric, words)))
      if any(math.isfinite(y) for points in curves.values() for _, y in points):
        shown.append([_numbers(run, colours[run], thin(points)) for run, points in curves.items()])
    parts += [f"<h3>{title}</h3><div class='charts'>{''.join(charts)}</div>"] if charts else []
  if not parts:
    return ""
  key = [f"<span><i class='swatch run{number % 8}'></i>{escape(run)}</span>" for run, number in colours.items()]
  legend = f"<p class='legend'>{''.join(key)}</p>" if len(key) > 1 else ""
  hint = note("Steps run from left to right. Point at a curve for its values; arrow keys move along one that has the focus.")
  return legend + hint + "".join(parts) + data_block("curves-data", shown)


def _numbers(run: str, colour: int, points: Points) -> list:
  """A curve as the page's script reads it: the run's name and colour, steps and values of few digits."""
  return [run, colour, [float(f"{x:.7g}") for x, _ in points], [float(f"{y:.4g}") for _, y in points]]
