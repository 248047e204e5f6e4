"""Networks that exist already, in configs: what the presets `continue` go on from, and the teachers of `distill`.

They are named after an @, `--config dinov2:continue@hf:/folder`: public weights of any format that `jssl.interop.load`
reads, or a run's network, `runs/x:teacher` or `runs/x@4000:teacher`. The config then has that network's own numbers and
`load`, and views with the statistics of its images and of a size that its patches divide.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jssl import nodes
from jssl.configs import common
from jssl.errors import ConfigError
from jssl.networks import parse_load
from jssl.schedules import linear

# Of a run that goes on, the share in which its heads are trained on the backbone as it is, and as large a share after it in
# which the backbone's rate rises.
HEADS_FIRST = 0.1


class Released(NamedTuple):
  """A network that exists already.

  Attributes:
    entry: in a config's `networks`: its function and numbers, and `load`.
    outputs: the shapes of what it writes of one image.
    statistics: mean and standard deviation of the images that it wants, as views take them.
    size: in pixels, of the images that it was made for.
    patch: side of its patches; 1 if it has none.
  """

  entry: dict[str, Any]
  outputs: dict[str, jax.ShapeDtypeStruct]
  statistics: dict[str, Any]
  size: int
  patch: int

  @property
  def is_vit(self) -> bool:
    return self.entry["fn"] == "vit"

  @property
  def prefix(self) -> int:
    """Number of the tokens before those of the patches."""
    return int(self.entry.get("cls_token", True)) + self.entry.get("registers", 0)

  def fitting(self, size: float) -> int:
    """The size nearest to this one that patches divide, at most that of the images that it was made for."""
    return self.patch * max(round(min(size, self.size) / self.patch), 1)

  def changed(self, **numbers) -> "Released":
    """With these numbers of the backbone's function, where it has them; a mask token that is new is drawn."""
    fn = nodes.resolve("the network", self.entry["fn"], "models")
    entry = self.entry | {key: value for key, value in numbers.items() if nodes.accepts(fn, key)}
    if entry.get("mask_token") and not self.entry.get("mask_token"):
      entry["load"] = dict(entry["load"], only=("^backbone/(?!mask_token$)",))
    return self._replace(entry=entry)


def released(preset: str, source: str, *, heads: bool = False) -> Released:
  """The network that `source` names.

  Args:
    preset: what comes before the @, such as "dinov2:continue", for errors.
    source: as in `networks.<name>.load`.
    heads: whether those of a run come with it; or the backbone alone.

  Raises:
    ConfigError: for no source, or one that cannot be read.
  """
  from jssl import convert  # pylint: disable=g-import-not-at-top  # other configs need no evaluation

  if not source:
    raise ConfigError(
      f"--config {preset}: name the network after an @: {preset}@hf:/folder, {preset}@dinov2:/file.pth, or what else "
      f"networks.<name>.load takes, such as a run's network, {preset}@runs/x:teacher"
    )
  try:
    found = convert.read(source).network
    load = parse_load("source", source)
  except ConfigError as error:
    raise ConfigError(f"--config {preset}@{source}: {error}") from error
  assert load is not None
  found = found if heads else found.backbone()
  entry = found.network | dict(load=dict(run=load.run, only=() if heads else ("^backbone/",)))
  size, patch = _side(entry.get("image_size", 224)), _side(entry.get("patch_size", 1))
  statistics = {key: value for key, value in dict(mean=found.mean, std=found.std).items() if value is not None}
  image = jax.ShapeDtypeStruct((1, size, size, len(found.mean or (0, 0, 0))), jnp.float32)
  outputs = jax.eval_shape(found.module.apply, found.variables, image)
  return Released(entry, outputs, statistics, size, patch)


def vit(preset: str, source: str) -> Released:
  """As `released`, of a vision transformer.

  Raises:
    ConfigError: it is another network.
  """
  found = released(preset, source)
  if not found.is_vit:
    raise ConfigError(f"--config {preset}@{source}: it needs a vision transformer, not a {found.entry['fn']}")
  return found


def go_on(config, network: str, found: Released, *, low: float, layer_decay: float) -> None:
  """Trains heads and decoders first, on the backbone as it is; then all, the backbone at a low rate that rises from 0.

  Args:
    config: with the method's own optimizer, changed in place.
    network: whose backbone it is.
    found: that backbone.
    low: its rate over that of the others.
    layer_decay: factor of its rate per layer below the top, if it is a transformer.
  """
  backbone = f"^{network}/backbone/"
  config.optim.freeze = (*config.optim.freeze, (backbone, dict(until_fraction=HEADS_FIRST)))
  config.optim.lr_mults = ((backbone, linear(0.0, low, hold_fraction=HEADS_FIRST, fraction=HEADS_FIRST)),)
  config.optim.layer_decay = layer_decay if found.is_vit else None
  for view in config.views.values():
    view.update(found.statistics)


def base(found: Released):
  """As `common.base`, for images of one's own, `--config.data.name=folder:/photos`; an evaluation asks for no labels."""
  config, size = common.base("imagenet"), found.fitting(224)
  own = dict(name="folder:images", split="train", options={})
  config.data.update(own)
  config.checkpoint_every_steps = 1000
  config.evaluation.update(dict(train=own, test=own, protocols=("rankme", "spectrum")))
  config.evaluation.update(dict(size=size, resize_to=round(size * 256 / 224)))
  return config


def _side(sides: int | tuple[int, ...]) -> int:
  return sides if isinstance(sides, int) else min(sides)
