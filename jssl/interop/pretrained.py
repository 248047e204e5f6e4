"""A network with weights, apart from any run: what `load` gives and `save` takes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jssl import models
from jssl.arrays import by
from jssl.errors import ConfigError
from jssl.interop import fit
from jssl.models.vit_module import ViT

UNROTATED = ("learned", "sincos", "sincos2d", "relative_bias", "block_relative_bias", "none")


class Pretrained(NamedTuple):
  """A network with public weights.

  Attributes:
    source: where from, as a config's `load` names it.
    network: its entry in a config's `networks`: `fn`, numbers, `heads`.
    variables: its parameters and statistics, `{"params": {"backbone": ...}, ...}`, as a run's network has them.
    mean, std: of the images in [0, 1] that it wants to see, a number a channel; None where the file does not say.
    extras: arrays of the file that are no network's, such as DINO's `center [1, prototypes]`.
    left: names of the file that stayed behind.
    notes: what a reader should know, a sentence each.
  """

  source: str
  network: dict[str, Any]
  variables: dict[str, Any]
  mean: tuple[float, ...] | None
  std: tuple[float, ...] | None
  extras: dict[str, np.ndarray]
  left: tuple[str, ...]
  notes: tuple[str, ...]

  @property
  def module(self) -> models.Network:
    """Backbone and heads: `module.apply(variables, images)` gives every output by name."""
    return build(self.network)

  def fitted(self, module: models.Network) -> dict[str, Any]:
    """The variables for a module of other positions: at another grid, fixed, or with the class token's in the token.

    Raises:
      ConfigError: the module computes something else with the same weights.
    """
    return fit.fit(self.source, self.module, self.variables, module)

  def backbone(self) -> "Pretrained":
    """The network without its heads."""
    network = {name: value for name, value in self.network.items() if name != "heads"}
    variables = {kind: {"backbone": tree["backbone"]} for kind, tree in self.variables.items() if "backbone" in tree}
    return self._replace(network=network, variables=variables)

  def merged(self) -> "Pretrained":
    """The network without adapters, which are added to the kernels that they adapt: the same function, to rounding."""
    if self.network.get("lora_rank") is None:
      return self
    params = models.merge_adapters(self.variables["params"], alpha=self.network.get("lora_alpha"))
    network = {name: value for name, value in self.network.items() if not name.startswith("lora_")}
    return self._replace(network=network, variables=self.variables | dict(params=params))

  def tabled(self, *, cls_position: bool, size: int | tuple[int, int] | None = None) -> "Pretrained":
    """The same ViT with its positions as a table, if they are fixed ones.

    Args:
      cls_position: whether the class token has a position of its own, which may be zeros, or has it in it.
      size: of the images that the table is for; None for those of the network.

    Raises:
      ConfigError: its positions are relative, so that they cannot be made for another size.
    """
    vit: Any = self.module.backbone
    fixed = vit.position in ("sincos", "sincos2d")
    if size is not None and "relative" in vit.position:
      raise ConfigError(f"position='{vit.position}' cannot be made for images of size={size}, only {by(vit.image_size)}")
    sized = self.network if size is None else self.network | dict(image_size=size)
    network = sized | dict(position="learned" if fixed else vit.position, cls_position=cls_position)
    source = self._replace(network=sized) if fixed else self
    return self._replace(network=network, variables=source.fitted(build(network)))


def build(network: Mapping[str, Any]) -> models.Network:
  """The module of a config's entry of jssl's own functions."""

  def call(entry, *options):
    return getattr(models, entry["fn"])(**{key: value for key, value in entry.items() if key not in ("fn", *options)})

  heads = network.get("heads", {})
  reads = {name: tuple(entry["reads"]) for name, entry in heads.items()}
  return models.Network(call(network, "heads"), {name: call(entry, "reads") for name, entry in heads.items()}, reads)


# Numbers that a format has no place for, unless it says so.
_HELD: dict[str, tuple] = dict(
  position=UNROTATED,
  stem=((),),
  mix_embedding=(False,),
  readout_fusion=("mean",),
  mlp=("gelu",),
  key_bias=(True,),
  map_head=(False,),
)


def held(goal: str, found: Pretrained, kinds: Sequence[str]) -> Any:
  """The backbone of a network without heads, which must be of one of the functions that a format holds.

  Raises:
    ConfigError: it has heads, or is of another function.
  """
  if heads := sorted(found.network.get("heads", {})):
    raise ConfigError(
      f"{goal} holds a backbone alone, not {', '.join(f'heads.{name}' for name in heads)}: write ':backbone'"
    )
  if (fn := found.network["fn"]) not in kinds:
    raise ConfigError(f"{goal} is written of fn={' or '.join(map(repr, kinds))}, not of fn='{fn}'")
  return found.module.backbone


def held_vit(goal: str, found: Pretrained, **holds: tuple) -> ViT:
  """The ViT of a network, which must be one of those that a format holds.

  Args:
    goal: the format, in errors.
    found: the network.
    **holds: numbers of `jssl.models.vit` to the values that the format can say.

  Raises:
    ConfigError: which of its parts or numbers the format has no place for.
  """
  vit: Any = held(goal, found, ("vit",))
  if len(vit.patch_size) != 2:
    raise ConfigError(f"{goal} holds ViTs of images, not of image_size={vit.image_size}")
  for name, values in (_HELD | holds).items():
    have = getattr(vit, name, getattr(vit.block, name, None))
    if have not in values:
      raise ConfigError(f"{goal} holds no ViT of {name}={have!r}, only of {' or '.join(map(repr, values))}")
  return vit
