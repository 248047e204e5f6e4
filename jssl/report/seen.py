"""What a run's networks see and what they make of what is hidden: its own graph, run on a few examples."""

from collections.abc import Iterator, Sequence
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from jssl import checkpoint, data, workdirs
from jssl import config as configs
from jssl.arrays import patch_grid, per_axis, unpatchify
from jssl.environment import run_graph, run_key, start
from jssl.errors import ConfigError
from jssl.evaluation.choice import trained_config
from jssl.graph import Graph, owner
from jssl.method import Method, Variables
from jssl.nodes import Drawn, Loss, Node, Pass, Refresh
from jssl.report.figures import picture
from jssl.report.markup import caption, escape, strips
from jssl.schedules import Horizon
from jssl.targets import patch_pixels

EXAMPLES = 6
MOST_ROWS = 12
HIDDEN = 128  # the grey of what is hidden, of 255


class Observed:
  """A run's method on the first examples of its data.

  Args:
    workdir: of the run.
    config: of the run.
    step: of the checkpoint; default the last.
    source: the examples; default what the config names.

  Raises:
    ConfigError: if the run was trained on data handed to it and no source is given.
  """

  def __init__(self, workdir: pathlib.Path, config, step: int | None = None, source: data.Source | None = None):
    if source is None:
      if (workdirs.read_record(workdir).get("data") or {}).get("given"):
        raise ConfigError("the run was trained on data handed to it, which config.json cannot name; give source=")
      source = data.load(config.data.name, split=config.data.split, **config.data.options)
    self.workdir, self.step, count = workdir, checkpoint.readable_step(workdir, step), len(source)
    config = trained_config(config, self.step, count)
    batch = source.get(np.arange(min(count, max(EXAMPLES, 2))))
    self.batch = batch | dict(source.whole) | {"index": np.arange(len(next(iter(batch.values()))), dtype=np.int32)}
    horizon = Horizon(configs.total_steps(config, count), max(count // config.batch_size, 1), config.batch_size)
    self.method = Method(config, num_examples=count, horizon=horizon, whole=source.whole)
    self.key = run_key(config.seed)

  @property
  def has_tables(self) -> bool:
    """Whether something is known of the whole training set, of which these examples are a part."""
    return any(isinstance(node, Refresh) for node in self.method.nodes.values())

  def environment(self, graph: Graph | None = None) -> dict[str, jax.Array]:
    """Every named array of a step, or of a graph that is a part of the method's; without passes it needs no weights."""
    graph = graph or self.method.graph
    if any(isinstance(node, Pass) for unit in graph.units for node in unit):
      variables = checkpoint.fill(
        str(self.workdir),
        jax.eval_shape(lambda: self.method.init(self.key, self.batch)),
        checkpoint.load_variables(self.workdir, self.step),
      )
    else:
      variables = Variables({}, {}, {}, {}, {})
    run = lambda v, b: run_graph(graph, start(graph, v, b, key=self.key, step=0)).arrays
    return jax.jit(run)(variables, self.batch)


def views_body(observed: Observed) -> str:
  """HTML of what each pass of a network reads: views and corrupted images, and hidden patches in grey."""
  method = observed.method
  shown: dict[tuple[str, ...], list[Pass]] = {}
  for node in method.nodes.values():
    if isinstance(node, Pass) and node.reads and isinstance(node.reads[0], str):
      name, hiding = node.reads[0], [node.keywords[key] for key in ("mask", "ids_keep") if key in node.keywords]
      writer = owner(name, method.nodes)
      if writer is None or isinstance(method.nodes[writer], Drawn):
        shown.setdefault((name, *hiding), []).append(node)
  if not shown:
    return ""
  env = observed.environment(_part(method.graph, [name for names in shown for name in names]))
  rows = [] if "image" not in env or env["image"].ndim != 4 else [("the example", _pictures(env["image"], method, "image"))]
  for names, passes in [*shown.items()][:MOST_ROWS]:
    image = env[names[0]]
    if not jnp.issubdtype(image.dtype, jnp.floating) or not 3 <= image.ndim <= 5:
      continue
    readers = ", ".join(f"{node.name} ({node.net})" for node in passes)
    hidden = [_hidden(node_key, env[name], image, method, passes[0]) for node_key, name in _hiding(passes[0])]
    rows.append((f"{names[0]}: read by {readers}", _pictures(image, method, names[0], hidden[0] if hidden else None)))
  if not rows:
    return ""
  look = caption(
    "What each forward pass of a training step reads: the views, and in grey the patches that are hidden from it. One "
    "column is one example. Look whether enough is left to guess the rest from, and whether views still show the same."
  )
  return look + strips(rows)


def _hiding(node: Pass) -> list[tuple[str, str]]:
  """What hides patches from a pass: the argument and the array."""
  return [(key, node.keywords[key]) for key in ("mask", "ids_keep") if key in node.keywords]


def _part(graph: Graph, names: Sequence[str]) -> Graph:
  """The part of a graph that these names follow from."""
  wanted, frontier = set(), list(names)
  while frontier:
    writer = owner(frontier.pop(), graph.nodes)
    if writer and writer not in wanted:
      wanted.add(writer)
      frontier += graph.nodes[writer].names()
  return graph._replace(units=[unit for unit in graph.units if any(node.name in wanted for node in unit)])


def _hidden(argument: str, value, image, method: Method, node: Pass) -> np.ndarray | None:
  """What is hidden of images `[n, *sides, C]`, as `[n, *sides, 1]` bool; None if that cannot be told."""
  sides = image.shape[1:-1]
  try:
    grid = tuple(method.networks[node.net].module.grid(image.shape[1:]))
  except (AttributeError, ValueError):
    return None
  value = np.asarray(value)
  mask = value if argument == "mask" else np.ones((len(value), math.prod(grid)), bool)
  if argument == "ids_keep":
    np.put_along_axis(mask, value, False, 1)
  if mask.shape[1:] != (math.prod(grid),) or len(grid) != len(sides) or any(s % g for s, g in zip(sides, grid, strict=True)):
    return None
  mask = mask.reshape(-1, *grid)
  for axis, (side, parts) in enumerate(zip(sides, grid, strict=True)):
    mask = np.repeat(mask, side // parts, axis + 1)
  return mask[..., None].astype(bool)


def _pictures(images, method: Method, name: str, hidden: np.ndarray | None = None) -> list[np.ndarray]:
  """Examples of an array as pictures, in the colours before they were normalised."""
  mean, std = _statistics(method, name)
  images = np.asarray(images[:EXAMPLES], np.float32) * std + mean
  low, high = _range(images)
  if hidden is not None:
    images = np.where(hidden[:EXAMPLES], low + (high - low) * HIDDEN / 255, images)
  return [picture(x, low=low, high=high) for x in images]


def _statistics(method: Method, name: str) -> tuple[np.ndarray, np.ndarray]:
  """The mean and deviation by which what a name holds was normalised: its view's, or that of the view it is made of."""
  seen: set[str] = set()
  writer = owner(name, method.nodes)
  while writer is not None and writer not in seen:
    seen.add(writer)
    node: Node = method.nodes[writer]
    if "mean" in node.numbers or "std" in node.numbers:
      numbers = node.numbers
      return tuple(np.asarray(numbers.get(key, default), np.float32) for key, default in (("mean", 0.0), ("std", 1.0)))
    writer = next((found for read in node.names() if (found := owner(read, method.nodes))), None)
  return np.float32(0.0), np.float32(1.0)


def _range(images: np.ndarray) -> tuple[float, float]:
  """[0, 1] for images within it, otherwise from their lowest to their highest value."""
  within = images.min() > -0.01 and images.max() < 1.01
  return (0.0, 1.0) if within else (float(images.min()), float(images.max()))


def reconstructions_body(observed: Observed) -> str:
  """HTML of `reconstructions`."""
  titles = ("the image", "as the network sees it", "what it puts there")
  parts = [
    f"<div class='panels'><h3>{escape(name)}</h3>{strips([*zip(titles, columns, strict=True)])}</div>"
    for name, columns in reconstructions(observed)
  ]
  look = caption(
    "Below the image what the network is shown, and below that what it puts in the place of what is hidden. Look whether "
    "shapes go on where they were hidden.",
    otherwise="what is hidden comes back as one colour, or as noise.",
  )
  return look + "".join(parts) if parts else ""


def reconstructions(observed: Observed) -> Iterator[tuple[str, list[list[np.ndarray]]]]:
  """What the run's networks make of hidden pixels or samples, for every loss that compares them with `patch_pixels`.

  Yields:
    The loss's name and three lists of pictures, one an example: clean, as the network sees it, reconstructed.
  """
  method = observed.method
  if observed.has_tables or not any(node.fn is patch_pixels for node in method.nodes.values()):
    return
  env = observed.environment()
  for loss in method.nodes.values():
    names = list(loss.names()) if isinstance(loss, Loss) else []
    predictions = [name for name in names if name.endswith("/pixels")]
    targets = [name for name in names if getattr(method.nodes.get(name), "fn", None) is patch_pixels]
    for prediction, target in list(zip(predictions, targets, strict=True))[:1]:
      columns = _columns(method, env, names, prediction, method.nodes[target])
      yield loss.name, _displayed(columns, method, method.nodes[target])


def _columns(method, env, names, prediction, target):
  """The clean view, the view with what is hidden in grey, and the prediction put in its place."""
  clean = env[target.reads[0]]
  patch = per_axis("patch_pixels", target.numbers["patch"], clean.ndim - 2)
  grid = patch_grid(clean.shape, patch)
  guess = env[prediction]
  if target.numbers.get("normalize"):
    pixels = patch_pixels(clean, patch=patch)
    guess = guess * jnp.sqrt(jnp.var(pixels, -1, keepdims=True, ddof=1) + 1e-6) + pixels.mean(-1, keepdims=True)
  guess = unpatchify(guess, grid=grid, patch=patch)
  shown = [env[read] for read in method.nodes[owner(prediction, method.nodes)].reads if env[read].shape == clean.shape]
  mask = next(
    (
      env[name]
      for name in names
      if env[name].dtype == bool and env[name].shape[:1] == clean.shape[:1] and name.split("/")[-1] == "mask"
    ),
    None,
  )
  if shown and not np.array_equal(shown[0], clean):
    return clean, shown[0], guess
  hidden = unpatchify(jnp.repeat(mask[..., None], math.prod(patch), -1), grid=grid, patch=patch)
  return clean, jnp.where(hidden, 0.0, clean), jnp.where(hidden, guess, clean)


def _displayed(columns, method, target):
  """Columns of examples of a view as columns of pictures; what the view has normalised is in its own colours again."""
  mean, std = _statistics(method, target.reads[0])
  columns = [np.asarray(column[:EXAMPLES], np.float32) * std + mean for column in columns]
  low, high = _range(columns[0])
  return [[picture(x, low=low, high=high) for x in column] for column in columns]
