"""What of a run is evaluated, and through which view: decided by what its networks' own passes read, never by an order.

A config's tables have no order (`config.json` sorts them). Where what a run says leaves several answers, the user is
told the key to set.
"""

from collections.abc import Mapping, Sequence
import inspect
from typing import Any

from jssl import config as configs
from jssl import graph, networks, nodes, phases
from jssl.errors import ConfigError, nearest
from jssl.evaluation.view import View
from jssl.schedules import Horizon
from jssl.views import geometry


def evaluated_network(config) -> str:
  """The network that an evaluation looks through.

  It is what `config.evaluation.network` names; or else the one EMA teacher that sees images; or, if there is no teacher,
  the one trained network that does.

  Raises:
    ConfigError: if there are several, or none.
  """
  name = config.evaluation.network
  if name:
    if name not in config.networks:
      raise ConfigError(f"config.evaluation.network='{name}': {nearest(name, config.networks)}")
    return name
  seeing = {spec.net for spec in config.passes.values() if _image(config, spec)}
  teachers = sorted(name for name in seeing if "ema" in config.networks[name])
  trained = sorted(name for name in seeing if not {"ema", "frozen"} & {k for k, v in config.networks[name].items() if v})
  found = teachers or trained
  if len(found) != 1:
    what = "several networks see images" if found else "no trained network sees an image"
    raise ConfigError(f"config.evaluation.network: {what}; set it to one of {', '.join(found or sorted(config.networks))}")
  return found[0]


# What networks are built with where nothing is trained.
ENGINE = dict(axis_name=None, num_examples=1, batch_size=None, dtype="float32")


def still_networks(config) -> dict[str, networks.NetworkSpec]:
  """All networks of a run, to be looked through: an EMA's decay, in whatever it is measured, moves nothing here."""
  entries = {name: dict(entry, decay=0.0) if "ema" in entry else entry for name, entry in config.networks.items()}
  return networks.build(entries, Horizon(1), ENGINE)


def evaluated_view(config, network: str) -> View:
  """The view of an evaluation: what `config.evaluation` says, and for the rest what the network's own passes see.

  Of crops of several sizes it is the largest, whose colours are normalised as they are for that crop.

  Raises:
    ConfigError: if the passes see largest views of several shapes or several normalisations, or none.
  """
  given = config.evaluation
  seen = [_seen(config, image) for image in sorted(_images(config, network))]
  seen = [dict(zip(("size", "mean", "std"), values, strict=True)) for view in seen for values in view]
  areas = [_area(view["size"]) for view in seen if view["size"] is not None]
  if areas:
    seen = [view for view in seen if view["size"] is not None and _area(view["size"]) == max(areas)]
  found = {key: _one(key, given[key], [view[key] for view in seen], network) for key in ("size", "mean", "std")}
  more = {key: given[key] for key in ("resize_to", "interpolation", "grayscale") if key in given}
  view = View(**found, **more)
  _check(view)
  return view


def seen_views(config, network: str) -> list[str]:
  """Names of the arrays of `config.views` that a network's own passes see as one image; of what a mask makes, its views'."""
  found = set()
  for spec in config.passes.values():
    if spec.net == network and not spec.get("fold") and _image(config, spec):
      first = next(read for read in spec.reads if not isinstance(read, str) or "=" not in read)
      waiting = list(nodes.flat_names((first,)))
      while waiting:
        name = waiting.pop()
        if mask := graph.owner(name, config.masking):
          reads, _ = nodes.parse_reads("", config.masking[mask].get("reads", ()))
          waiting += nodes.flat_names(reads)
        elif graph.owner(name, config.views):
          found.add(name)
  return sorted(found)


def trained_areas(config, name: str) -> list[int]:
  """Pixels of what an array of `config.views` shows, as far as its entry or those that it is made of say it."""
  view = graph.owner(name, config.views)
  found = _numbers(_drawn(config), config.views, view, "size", frozenset()) if view else []
  return [_area(size) for size in found]


def embedding_output(config, network: str, vectors: Sequence[str]) -> str | None:
  """The projector's output: what `config.evaluation.embedding` names, or else the one vector that a head gives to losses.

  Heads are those of the network, or of the student that it follows; what passes of other networks and targets read counts
  as read by losses. A head that another one reads comes before that: a predictor stands on its projector.

  Args:
    config: of the run.
    network: that is evaluated.
    vectors: names of its outputs of one vector an image.

  Returns:
    The name, or None if there is none, or several.

  Raises:
    ConfigError: if there is no output of the name that the config gives.
  """
  if given := config.evaluation.get("embedding"):
    if given not in vectors:
      raise ConfigError(f"config.evaluation.embedding='{given}': {nearest(given, vectors)}")
    return given
  followed = [network]
  while student := config.networks[followed[-1]].get("ema"):
    followed.append(student)
  heads = config.networks[followed[-1]].get("heads", {})
  own = {name for name, spec in config.passes.items() if spec.net in followed}
  found = set()
  for entry in (*config.losses.values(), *config.targets.values(), *config.passes.values()):
    for read in nodes.flat_names((*entry.get("reads", ()), *entry.get("terms", ()))):
      writer, _, output = read.rpartition("=")[2].partition("/")
      if writer in own and output in vectors and graph.owner(output, heads):
        found.add(output)
  first = lambda output: (
    not any(
      graph.owner(read, heads) in {graph.owner(name, heads) for name in found}
      for read in nodes.flat_names(heads[graph.owner(output, heads)].get("reads", ()))
    )
  )
  found = sorted(filter(first, found))
  return found[0] if len(found) == 1 else None


def trained_config(config, step: int, num_examples: int | None):
  """The config of the phase that trained the weights of `step`.

  Args:
    config: of the run.
    step: of the checkpoint; of the run's end, if it is larger.
    num_examples: of the data that the run was trained on, in which its lengths are measured; None if it is not known.

  Raises:
    ConfigError: if phases begin where only the data could say.
  """
  if not config.phases:
    return config
  known = num_examples is not None
  if not known and (
    config.total_steps is None or any(entry.get("start_epochs") is not None for entry in config.phases.values())
  ):
    raise ConfigError("config.phases: when they begin depends on the data that the run was trained on, which is not there")
  total = configs.total_steps(config, num_examples or config.batch_size)
  horizon = Horizon(total, num_examples // config.batch_size if known else None, config.batch_size)
  return phases.at(phases.split(config, horizon), max(min(step, total) - 1, 0)).config


def _image(config, spec) -> str | None:
  """The entry or the array of the data that a pass's first argument comes from; None if that is another pass's output."""
  first = next((read for read in spec.get("reads", ()) if not isinstance(read, str) or "=" not in read), None)
  names = list(nodes.flat_names((first,))) if first is not None else []
  made = {**config.passes, **config.targets, **config.refresh}
  if not names or any(graph.owner(name, made) for name in names):
    return None
  return graph.owner(names[0], _drawn(config)) or names[0]


def _drawn(config) -> dict[str, Any]:
  return {**config.views, **config.masking}


def _images(config, network: str) -> set[str]:
  """The views, masks or arrays of the data whose images a network's own passes see."""
  return {image for spec in config.passes.values() if spec.net == network and (image := _image(config, spec))}


def _seen(config, name: str) -> list[tuple]:
  """(size, mean, std) of the views that an entry's image is made of; what a view does not say, those say that it reads."""
  entries, numbers = _drawn(config), {}
  for key in ("size", "mean", "std"):
    numbers[key] = _numbers(entries, config.views, name, key, frozenset())
  sizes = numbers["size"] or [None]
  several = lambda key: numbers[key] or [None]
  return [(size, mean, std) for size in sizes for mean in several("mean") for std in several("std")]


def _numbers(entries: Mapping, views: Mapping, name: str, key: str, above: frozenset) -> list:
  """The values of a view's number, or, if neither it nor its function has one, of those that it is made of."""
  if name not in entries or name in above:
    return []
  entry = entries[name]
  if name in views:
    if key in entry:
      return [entry[key]]
    default = _default(entry, key)
    if default is not None:
      return [default]
  parts = (graph.owner(read.rpartition("=")[2], entries) for read in nodes.flat_names(entry.get("reads", ())))
  found = []
  for part in filter(None, parts):
    found += [x for x in _numbers(entries, views, part, key, above | {name}) if x not in found]
  return found


def _default(entry, key: str):
  """What a view's function takes for a number that the config does not give."""
  fn = nodes.resolve("config.views", entry["fn"], "views")
  parameter = inspect.signature(fn).parameters.get(key) if callable(fn) else None
  return None if parameter is None or parameter.default is parameter.empty else parameter.default


def _area(size) -> int:
  height, width = geometry.to_pair(_pair(size))
  return height * width


def _pair(size):
  return tuple(size) if isinstance(size, (list, tuple)) else size


def _one(key: str, given, found: list, network: str):
  """What is given, or the only value that was found."""
  if given is not None:
    return _pair(given)
  values = []
  for value in map(_pair, found):
    if value is not None and value not in values:
      values.append(value)
  if len(values) == 1:
    return values[0]
  what = f"several ({', '.join(map(str, values))})" if values else "none"
  raise ConfigError(f"config.evaluation.{key}: the views that '{network}' sees have {what}; set it")


def _check(view: View) -> None:
  """Refuses what cannot be a view, with the key that is wrong."""
  try:
    height, width = view.shape
  except (TypeError, ValueError) as error:
    raise ConfigError(f"config.evaluation.size={view.size!r}: {error}") from error
  if view.resize_to is not None and view.resize_to < max(height, width):
    raise ConfigError(
      f"config.evaluation.resize_to={view.resize_to}: config.evaluation.size={height} x {width} does not fit into it"
    )
  if view.interpolation not in ("bicubic", "bilinear"):
    raise ConfigError(
      f"config.evaluation.interpolation='{view.interpolation}': {nearest(view.interpolation, ('bicubic', 'bilinear'))}"
    )
