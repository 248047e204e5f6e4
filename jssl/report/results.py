"""Results of evaluations as HTML: what was learnt beside its controls, and the whole table."""

from collections.abc import Mapping, Sequence
import math
import re
from typing import NamedTuple

from jssl.evaluation.tables import Evaluation, format_value, protocol_blocks
from jssl.report.markup import escape, note

COMPARED = ("better", "same", "worse")
SAME = 0.01  # a difference that one run cannot tell from none: a point, or a hundredth of what is no share


class Measure(NamedTuple):
  """The number that stands for a protocol.

  Attributes:
    metric: a regular expression of its name; of several the last counts.
    title: what it measures, in plain words.
    better: "higher", "lower", or "" where no value is better than another by itself.
    share: whether it is a share, from 0 to 1.
  """

  metric: str
  title: str
  better: str = "higher"
  share: bool = True


MEASURES = dict(
  prompt_segmentation=Measure("miou_random_fixed", "A click on a patch finds its object"),
  object_similarity=Measure("overlap", "Patches of one object and of two are mixed up", "lower"),
  linear_segmentation=Measure("miou", "A linear layer on patches tells the classes of pixels"),
  neighbour_segmentation=Measure("miou", "Near patches are of the same class"),
  mask_propagation=Measure("j_and_f", "Similar patches carry masks through a clip"),
  attention_segmentation=Measure("miou_chosen", "The class token looks at objects"),
  knn=Measure(r"k\d+", "Near images are of the same class"),
  linear=Measure("accuracy", "A linear classifier tells the classes"),
  linear_mae=Measure("accuracy", "MAE's linear classifier tells the classes"),
  linear_dinov2=Measure("accuracy", "DINOv2's linear classifier tells the classes"),
  logistic_regression=Measure("accuracy", "Logistic regression tells the classes"),
  attentive_probe=Measure("accuracy", "A classifier that attends to patches tells the classes"),
  few_labels=Measure(r"n\d+", "Few labels are enough to tell the classes"),
  accuracy=Measure(r"accuracy \(top 1\)", "The run's own classifier is right"),
  retrieval=Measure("map", "An image finds those of its class"),
  copy_detection=Measure("micro_ap", "An edited copy finds its original"),
  clusters=Measure("ari", "Clusters without labels agree with the classes"),
  rankme=Measure("rankme", "Dimensions that the features use", "", False),
  lidar=Measure("lidar", "Dimensions that tell images from each other", "", False),
  spectrum=Measure("participation_ratio", "Dimensions in which features vary", "", False),
)


def measure_of(protocol: str, result: Mapping) -> tuple[Measure, str] | None:
  """The measure of a protocol and the metric that it is, or None if there is no number.

  Of a protocol that is not known here it is the first metric, and what its meaning says of higher and lower.
  """
  metrics = [name for name, value in result.get("metrics", {}).items() if _is_number(value)]
  known = MEASURES.get(protocol)
  found = [name for name in metrics if known and re.fullmatch(known.metric, name)]
  if found:
    return known, found[-1]
  if not metrics:
    return None
  meaning = result.get("meaning", "")
  ways = dict(higher="higher|more|larger", lower="lower|less|fewer|smaller")
  better = next((way for way, words in ways.items() if re.search(rf"\b({words})\b[^;]* is better", meaning)), "")
  share = 0.0 <= result["metrics"][metrics[0]] <= 1.0
  return Measure(metrics[0], protocol.replace("_", " ").replace(":", ": ").capitalize(), better, share), metrics[0]


def _is_number(value) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def merged(runs: Mapping[str, Mapping]) -> Evaluation:
  """Results of several runs as those of one: what was pretrained by its run's name, and each control once if all agree.

  Args:
    runs: name -> model -> protocol -> result.
  """
  rows = {name: results["pretrained"] for name, results in runs.items() if "pretrained" in results}
  controls = dict.fromkeys(model for results in runs.values() for model in results if model != "pretrained")
  for model in controls:
    found = {name: results[model] for name, results in runs.items() if model in results}
    numbers = [{key: result.get("metrics") for key, result in own.items()} for own in found.values()]
    alike = all(number == numbers[0] for number in numbers)
    rows |= {model: next(iter(found.values()))} if alike else {f"{name}: {model}": own for name, own in found.items()}
  return Evaluation(rows)


def headline_body(results: Mapping, runs: Sequence[str], commands: Sequence[str] = ()) -> str:
  """HTML of what was learnt: for each protocol its number beside the controls', and in words who wins.

  Args:
    results: model -> protocol -> result, see `merged`.
    runs: the models that were pretrained; the others are controls.
    commands: what measures the runs that were not measured.
  """
  cards, verdicts = [], {}
  for protocol in dict.fromkeys(name for result in results.values() for name in result):
    told = {model: result[protocol] for model, result in results.items() if protocol in result}
    first = next((found for result in told.values() if (found := measure_of(protocol, result))), None)
    if first is None:
      continue
    measure, metric = first
    values = {model: value for model, result in told.items() if _is_number(value := result["metrics"].get(metric))}
    verdict = {run: _verdict(measure, values, run, runs) for run in runs if run in values}
    for run, (kind, _) in verdict.items():
      verdicts.setdefault(run, []).append(kind)
    cards.append(_card(protocol, measure, metric, values, verdict, told))
  told = "".join(f"<pre>{escape(command)}</pre>" for command in commands)
  told = f"<p>This measures it, beside what it must beat:</p>{told}" if commands else ""
  if not cards:
    return f"<p class='verdict'>Nothing was measured yet.</p>{told}"
  lines = [f"{run}: {_summary(kinds)}" if len(runs) > 1 else _summary(kinds).capitalize() for run, kinds in verdicts.items()]
  summary = "".join(f"<p class='verdict'>{escape(line)}</p>" for line in lines)
  missing = f"<p>Not all of it was measured yet.</p>{told}" if told else ""
  return f"{summary}<div class='cards'>{''.join(cards)}</div>{missing}"


def _summary(verdicts: Sequence[str]) -> str:
  """All verdicts in a sentence."""
  compared = [kind for kind in verdicts if kind in COMPARED]
  if not compared and "undirected" in verdicts:
    return "no value of these is better by itself; look at the pictures below, beside those of the controls."
  if not compared:
    return "there is no control to compare with; --baselines measures them."
  count = lambda kind: sum(found == kind for found in compared)
  parts = [f"better than every control in {count('better')} of {len(compared)} measures"]
  parts += [f"about the same as the best control in {count('same')}"] if count("same") else []
  parts += [f"worse than a control in {count('worse')}"] if count("worse") else []
  return ", ".join(parts) + "."


def _verdict(measure: Measure, values: Mapping[str, float], run: str, runs: Sequence[str]) -> tuple[str, str]:
  """Whether a run beats its controls: "better", "same", "worse", "undirected" or "", and a sentence."""
  own = [model for model in values if model not in runs and (model.startswith(f"{run}: ") or ": " not in model)]
  if not measure.better:
    return "undirected", "No value is better by itself."
  if not own:
    return "", "No control was measured."
  sign = 1.0 if measure.better == "higher" else -1.0
  best = max(own, key=lambda model: sign * values[model])
  gain = sign * (values[run] - values[best])
  size = f"{abs(gain) * 100:.1f} points" if measure.share else f"{abs(gain):.3g}"
  name = best.removeprefix(f"{run}: ")
  if abs(gain) < SAME * (1.0 if measure.share else abs(values[best])):
    return "same", f"About the same as {name}: nothing is claimed here."
  if gain > 0:
    return "better", f"{size} better than the best control, {name}."
  return "worse", f"{size} worse than {name}: a control wins."


def _card(protocol, measure, metric, values, verdict, told) -> str:
  """One protocol: title, verdict, a bar for each model, and what the number means."""
  result = next(iter(told.values()))
  chance = next((x for r in told.values() if _is_number(x := r.get("parameters", {}).get("chance"))), None)
  top = 1.0 if measure.share and max(values.values()) < 1.001 else max(*values.values(), 1e-12) * 1.05
  bars = []
  for model, value in values.items():
    width = max(0.0, min(1.0, value / top)) * 100
    tick = f"<i class='chance' style='left:{chance / top * 100:.1f}%' title='chance'></i>" if chance is not None else ""
    bars.append(
      f"<div class='bar {_row(model, verdict)}'><span>{escape(model)}</span><span class='track'>"
      f"<i class='fill' style='width:{width:.1f}%'></i>{tick}</span><b>{_shown(measure, value)}</b></div>"
    )
  names = len(verdict) > 1
  lines = "".join(
    f"<p class='say {kind if kind in COMPARED else 'none'}'>{escape(f'{run}: {sentence}' if names else sentence)}</p>"
    for run, (kind, sentence) in verdict.items()
  )
  arrow = dict(higher="longer is better", lower="shorter is better").get(measure.better, "")
  footer = ", ".join(
    filter(None, [f"{protocol}: {metric}", arrow, f"chance at {_shown(measure, chance)}" if chance else ""])
  )
  meaning = f"<p class='note'>{escape(result.get('meaning') or '')}</p>" if result.get("meaning") else ""
  return (
    f"<article class='card'><h3>{escape(measure.title)}</h3>{lines}<div class='bars'>{''.join(bars)}</div>"
    f"{meaning}<p class='note'>{escape(footer)}</p></article>"
  )


def _row(model: str, verdict: Mapping) -> str:
  """Classes of a model's bar: a run has its own colour if there are several."""
  if model not in verdict:
    return "control"
  return f"run run{list(verdict).index(model) % 8}" if len(verdict) > 1 else "run"


def _shown(measure: Measure, value: float) -> str:
  return f"{value * 100:.1f} %" if measure.share else format_value(value)


def body(results: Mapping, about: Sequence[str] = ()) -> str:
  """HTML of all results: a table for each protocol, with its meaning and its parameters.

  Args:
    results: model -> protocol -> result, as for `jssl.evaluation.format_table`.
    about: lines that stand above.
  """
  parts = [note(line) for line in about]
  for block in protocol_blocks(results):
    head = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in block["columns"])
    rows = "".join(
      f"<tr><th>{escape(model)}</th>{''.join(f'<td>{format_value(value)}</td>' for value in values)}</tr>"
      for model, values in block["rows"]
    )
    meaning = f"<p>{escape(block['meaning'])}</p>" if block["meaning"] else ""
    table = (
      f"<div class='scroll' tabindex='0' role='region' aria-label='{escape(block['protocol'])}'><table>"
      f"<thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    notes = "".join(note(line) for line in block["notes"])
    parts.append(f"<h3>{escape(block['protocol'].replace('_', ' '))}</h3>{meaning}{table if rows else ''}{notes}")
  return "".join(parts)
