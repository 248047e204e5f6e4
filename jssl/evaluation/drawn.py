"""Several views of each image, drawn for an evaluation: by the run's own augmentation, or edits of what a network is shown.

`FeatureModel.drawn(kind, views, seed=...)` and `edited(kind, edits, seed=...)` are `batch -> [n, q, ...]`: that kind of
features of q views of each image. View j of the image with the number i in its data depends on the seed, i and j alone,
however batches are made.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jssl.environment import run_graph, run_key, start
from jssl.errors import ConfigError
from jssl.evaluation.choice import ENGINE, seen_views, trained_areas
from jssl.evaluation.view import View
from jssl.graph import Graph, order, owner
from jssl.method import Variables
from jssl.nodes import flat_names, make_node, parse_reads
from jssl.schedules import Horizon
from jssl.views import normalize

Edit = Callable[[jax.Array, jax.Array], jax.Array]  # (key, image [H, W, C] in [0, 1]) -> the same shape and range


class Drawn(Protocol):
  """Hashable; of two that are equal, one is compiled.

  Attributes:
    views: how many.
    reads: names of the arrays of the data.
  """

  @property
  def views(self) -> int: ...

  @property
  def reads(self) -> tuple[str, ...]: ...

  def __call__(self, batch: Mapping[str, Any], number: jax.Array) -> jax.Array:
    """View `number` of each image, `[n, height, width, channels]`, as the network sees it; traced."""
    ...


class EditedViews(NamedTuple):
  """View j is edit j of what the evaluation's view shows, before it is normalised."""

  view: View
  edits: tuple[Edit, ...]
  seed: int
  reads: tuple[str, ...] = ("image", "extent", "index")

  @property
  def views(self) -> int:
    return len(self.edits)

  def __call__(self, batch, number):
    shown = self.view._replace(mean=0.0, std=1.0)(batch)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(run_key(self.seed), number), batch["index"])
    edited = jax.vmap(lambda key, image: jax.lax.switch(number, self.edits, key, image))(keys, shown)
    return jax.vmap(lambda image: normalize(image, self.view.mean, self.view.std))(edited)


class TrainingViews(NamedTuple):
  """View j is drawn by the j-th of a run's own entries of `views`, in turn; numbers that change are as at the run's end.

  The images are those of the data's arrays: where they are files, their crops are not cut at full resolution.
  """

  names: tuple[str, ...]
  graphs: tuple[Graph, ...]
  seed: int
  views: int

  @property
  def reads(self) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for graph in self.graphs for name in graph.batch_names)) + ("index",)

  def __call__(self, batch, number):
    n, *size = batch["image"].shape[:3]
    batch = {"extent": jnp.tile(jnp.array(size, jnp.int32), (n, 1)), **batch}

    def draw(name, graph):
      step = _LATE + number // len(self.names)  # one step's views share what they are made of, such as a crop before theirs
      env = start(graph, NOBODY, batch, key=run_key(self.seed), step=step, positions=batch["index"])
      image = run_graph(graph, env).arrays[name]
      if image.ndim != 4:
        raise ConfigError(f"config.views: '{name}' is {list(image.shape)}, not one image [n, height, width, channels]")
      return image

    draws = [lambda n=name, g=graph: draw(n, g) for name, graph in zip(self.names, self.graphs, strict=True)]
    return jax.lax.switch(number % len(draws), draws)

  def __hash__(self):
    return hash((self.names, tuple(map(id, self.graphs)), self.seed, self.views))

  def __eq__(self, other):
    return isinstance(other, TrainingViews) and hash(self) == hash(other)


NOBODY = Variables({}, {}, {}, {}, {})
_LATE = 1 << 20  # a step at which schedules are at their ends


def training_views(config, network: str, views: int, seed: int) -> TrainingViews:
  """The views that a network's own passes see in training, the largest of them; masks hide nothing.

  Args:
    config: of the run.
    network: that is evaluated.
    views: of an image.
    seed: of the draws.

  Raises:
    ConfigError: if it sees none that one image alone is enough for.
  """
  graphs = {}
  for name in seen_views(config, network):
    nodes = _made_of(config, name)
    if nodes and all(node.scope == "example" for node in nodes.values()):
      arrays = {read for node in nodes.values() for read in node.names() if not owner(read, nodes)}
      graphs[name] = Graph(nodes, order(nodes), {}, ENGINE, tuple(sorted(arrays)))
  if not graphs:
    raise ConfigError(f"config.views: '{network}' sees no view in training that is drawn for one image alone")
  areas = {name: max(trained_areas(config, name), default=0) for name in graphs}
  names = tuple(name for name in sorted(graphs) if areas[name] == max(areas.values()))
  return TrainingViews(names, tuple(graphs[name] for name in names), seed, views)


def _made_of(config, name: str) -> dict[str, Any]:
  """The views that an array is made of, resolved, or nothing where a mask or a network has a part in it."""
  nodes, waiting = {}, [name]
  while waiting:
    read = waiting.pop()
    if owner(read, {**config.masking, **config.passes, **config.targets, **config.refresh}):
      return {}
    head = owner(read, config.views)
    if head and head not in nodes:
      nodes[head] = make_node("views", head, config.views[head], Horizon(1))
      reads, keywords = parse_reads(f"config.views.{head}", config.views[head].get("reads", ()))
      waiting += [*flat_names(reads), *flat_names(keywords.values())]
  return nodes
