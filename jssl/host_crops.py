"""Views of image files at their full resolution: crops that the host cuts out before the device does the rest.

An array holds all images of a data set on one canvas, so a large one is shrunk before a view crops it. Where images are
files, a view that begins with a crop of the raw image (`jssl.views.in_halves`) is taken apart instead: the crop's box is
drawn on the host, from the same key and for the size of the file, the file is decoded once, and every view's box is cut
out of it and resized to the view's size. On the device the view is its second half, a function of that crop, which is an
array of the batch like any other; so nothing else of a run knows of it.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.data.encoded import CHUNK
from jssl.environment import name_key, run_key, told_by
from jssl.nodes import call, Node, View
from jssl.views.crops import Crop, Halves, halves


def take_apart(nodes: Mapping[str, Node]) -> tuple[dict[str, Node], dict[str, View]]:
  """The nodes, with the second halves in the place of the views that begin with a crop of the raw image; and these views."""
  whole = {name: node for name, node in nodes.items() if isinstance(node, View) and _halves(node)}
  return {name: _second_half(node) if name in whole else node for name, node in nodes.items()}, whole


def crop_name(view: str) -> str:
  """What the array of a view's crops is called; no entry of a config can be called so."""
  return f"image@{view}"


def _halves(node: View) -> Halves | None:
  """The halves of a view if it reads the raw image."""
  reads = (node.reads, node.keywords)
  raw = reads in ((("image",), {}), (("image",), {"extent": "extent"}), (("image", "extent"), {}))
  return halves(node.fn) if raw and node.scope == "example" and node.fn else None


def _second_half(node: View) -> View:
  return dataclasses.replace(node, fn=_halves(node).finish, reads=(crop_name(node.name),), keywords={}, cropped=True)


class HostCrops:
  """Draws the boxes of views for examples whose images' sizes are known.

  Args:
    views: name -> view, as `take_apart` gives them; there may be none.
    seed: of the run.
    channels: of the images.

  Attributes:
    names: of the arrays that the crops become.
  """

  def __init__(self, views: Mapping[str, View], *, seed: int, channels: int):
    self._views, self._seed, self._channels = dict(views), seed, channels
    self.names = tuple(map(crop_name, views))
    self._draw = jax.jit(self._boxes)

  def specs(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes and types of the arrays."""
    crops = jax.eval_shape(self._boxes, 0, jnp.zeros(1, jnp.int32), jnp.ones((1, 2), jnp.int32))
    return {n: jax.ShapeDtypeStruct((batch_size, *crop.size, self._channels), np.uint8) for n, crop in crops.items()}

  def at(self, step: int, positions: np.ndarray) -> Callable[[np.ndarray, np.ndarray], dict[str, Crop]] | None:
    """What `jssl.data.encoded.EncodedImages.read` takes as `draw`, or None if there are no views.

    Args:
      step: steps taken so far.
      positions: `[n]`, the place in the global batch of each example that is read.
    """
    if not self._views:
      return None

    def draw(places: np.ndarray, extents: np.ndarray) -> dict[str, Crop]:
      padding = (0, -len(places) % CHUNK)  # one shape, so that it is compiled once
      positions_of = np.pad(np.asarray(positions, np.int32)[places], padding)
      with jax.default_device(host_device()):
        crops = self._draw(np.int32(step), positions_of, np.pad(extents, (padding, (0, 0)), constant_values=1))
      return jax.tree.map(lambda box: np.asarray(box)[: len(places)], crops)

    return draw

  def _boxes(self, step, positions, extents) -> dict[str, Crop]:
    step_key = jax.random.fold_in(run_key(self._seed), step)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(step_key, positions)
    crops = {}
    for name, view in self._views.items():
      numbers = view.numbers | {key: schedule(step) for key, schedule in view.schedules.items()}
      one = functools.partial(_crop, view, numbers)
      with told_by(view):
        crops[crop_name(name)] = jax.vmap(one)(keys, extents)
    return crops


def _crop(view: View, numbers, key, extent) -> Crop:
  crop = call(_halves(view).crop, name_key(key, view.name), (extent[0], extent[1]), engine={}, **numbers)
  return dataclasses.replace(crop, box=jnp.stack([jnp.asarray(side, jnp.float32) for side in crop.box]))


@functools.cache
def host_device() -> jax.Device:
  """A device to draw on: the host's own, unless JAX was told to do without."""
  try:
    return jax.local_devices(backend="cpu")[0]
  except RuntimeError:
    return jax.local_devices()[0]
