"""A run's network as it was trained, that is only looked through: which one, with which weights, through which view."""

from collections.abc import Callable, Mapping, Sequence
import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jssl import checkpoint, data, environment, networks, workdirs
from jssl import config as configs
from jssl.errors import ConfigError, nearest
from jssl.evaluation.choice import embedding_output, evaluated_network, evaluated_view, still_networks, trained_config
from jssl.evaluation.devices import on_devices
from jssl.evaluation.drawn import Drawn, Edit, EditedViews, training_views
from jssl.evaluation.graph import FrozenGraph, load_graph, Weights
from jssl.evaluation.model import FeatureModel
from jssl.evaluation.view import as_batch, check_images, View
from jssl.files import user_path
from jssl.models.inner import inner_outputs


class Frozen(NamedTuple):
  """A network that is only looked through.

  Attributes:
    module: backbone and heads.
    variables: `params` and `batch_stats`.
    view: through which it sees images.
    feature: which of its outputs stands for the image.
    name: of the network in its run's config.
    step: of the checkpoint that its weights come from; 0 for the weights before the first step.
    config: of its run, which says what its projector is and which views it was trained on; None without a run.
    places: which of its outputs stands for the patches, if it has any.
  """

  module: Any
  variables: dict[str, Any]
  view: View
  feature: str = "features"
  name: str = "network"
  step: int = 0
  config: Any = None
  places: str = "patch_tokens"

  def about(self) -> dict[str, Any]:
    """What is evaluated, as results carry it."""
    places = {} if self.places == "patch_tokens" else dict(places=self.places)
    return dict(network=self.name, feature=self.feature, **places, view=self.view.parameters())

  def with_weights(self, weights: Weights, step: int) -> "Frozen":
    """The same network with the weights of a step."""
    return self._replace(variables=_variables(weights, self.name), step=step)

  @property
  def size(self) -> int | tuple[int, int]:
    """Of the view: its side in pixels, or its (height, width)."""
    return self.view.size

  def outputs(self, images: Any) -> dict[str, jax.Array]:
    """Everything that the network says of `images [n, H, W, C]` uint8, or of a batch with `image` and `extent`."""
    batch = as_batch(images)
    check_images(batch, self.view.channels)
    return self.module.apply(self.variables, self.view(batch), train=False)

  def feature_model(self, name: str) -> FeatureModel:
    """The network as the protocols want it.

    Raises:
      ConfigError: if it has no such feature, or that is not one vector an image; the same of places and patches.
    """
    shape = (*self.view.shape, self.view.channels or 3)
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    shapes = jax.eval_shape(lambda variables, image: everything(self.module, variables, image), self.variables, image)
    vectors = [key for key, x in shapes.items() if x.ndim == 2]
    if self.feature not in vectors:
      raise ConfigError(f"config.evaluation.feature='{self.feature}': {nearest(self.feature, vectors)}")
    embedding = embedding_output(self.config, self.name, vectors) if self.config else None
    outputs = dict(image_features=self.feature, embeddings=embedding)
    has_patches = "patch_tokens" in shapes
    patches = shapes["patch_tokens"].shape[:2] if has_patches else None
    of_patches = [key for key, x in shapes.items() if x.ndim == 3 and x.shape[:2] == patches]
    if self.places not in of_patches and (has_patches or self.places != "patch_tokens"):
      raise ConfigError(f"config.evaluation.places='{self.places}': {nearest(self.places, of_patches)}")
    has_blocks = has_patches and any(key.startswith(_BLOCKS) for key in shapes)
    return FeatureModel(
      name=name,
      image_features=self._extract(self.feature),
      patch_features=self._extract(self.places) if has_patches else None,
      block_features=self._extract(last_blocks) if has_blocks else None,
      grid=self.module.grid(shape) if has_patches else None,
      embeddings=self._extract(embedding) if embedding else None,
      embedding=embedding,
      embedding_dims=shapes[embedding].shape[-1] if embedding else None,
      drawn=functools.partial(self._drawn, outputs) if self.config else None,
      edited=functools.partial(self._edited, outputs),
      attention=self._extract(class_attention) if has_patches and "cls" in shapes and _attentions(shapes) else None,
      view=self.view,
    )

  def _extract(self, output: str | Callable) -> Callable[[Any], np.ndarray]:
    """A function from a batch, or images alone, to one of the network's outputs, or to what a function makes of them all."""
    return on_devices(_Look(self.module, self.view, output), self.variables)

  def _drawn(self, outputs: Mapping[str, str | None], kind: str, views: int, *, seed: int):
    """See `FeatureModel.drawn`."""
    return self._at_each(training_views(self.config, self.name, views, seed), outputs[kind])

  def _edited(self, outputs: Mapping[str, str | None], kind: str, edits: tuple[Edit, ...], *, seed: int):
    """See `FeatureModel.edited`."""
    return self._at_each(EditedViews(self.view, edits, seed), outputs[kind])

  def _at_each(self, drawn: Drawn, output: str | None) -> Callable[[Any], np.ndarray]:
    if output is None:
      raise ConfigError(f"'{self.name}' has no projector that its config names")
    return on_devices(_LookAtEach(self.module, drawn, output), self.variables)


def everything(module: Any, variables: Any, images: Any) -> dict[str, jax.Array]:
  """All that a network says of images that it is shown: its outputs by name, and its inner arrays by their paths."""
  outputs, inner = inner_outputs(module, variables, images, train=False)
  return outputs | inner


_BLOCKS = "backbone/Transformer/normed"


def last_blocks(outputs: Mapping[str, jax.Array], count: int = 4) -> jax.Array:
  """What `FeatureModel.block_features` are, of all that a ViT says."""
  blocks = [outputs[key] for key in sorted(outputs) if key.startswith(_BLOCKS)][-count:]
  patches = [block[:, -outputs["patch_tokens"].shape[1] :].mean(1) for block in blocks]
  return jnp.stack([*([block[:, 0] for block in blocks] if "cls" in outputs else patches), patches[-1]], 1)


def _attentions(outputs: Mapping[str, Any]) -> list[str]:
  """The paths of the weights of a ViT's attentions, from the first block to the last."""
  found = [key for key in outputs if key.startswith("backbone/Transformer/encoderblock_") and key.endswith("/weights")]
  return sorted(found, key=lambda key: (len(key), key))  # so that 9 comes before 10


def class_attention(outputs: Mapping[str, jax.Array]) -> jax.Array:
  """What `FeatureModel.attention` is, of all that a ViT with a class token says."""
  return outputs[_attentions(outputs)[-1]][:, :, 0, -outputs["patch_tokens"].shape[1] :]


class _Look:
  """One output of a network; two of the same module, view and output are the same program, whatever the weights.

  The output is a name of `everything`, or a function of all of that, which is hashable.
  """

  def __init__(self, module: Any, view: View, output: str | Callable):
    self.module, self.view, self.output = module, view, output
    self._key = (repr(module), view, output)  # Flax's modules are not hashable where they hold a dict.

  def __call__(self, variables, batch):
    outputs = everything(self.module, variables, self.view(batch))
    return self.output(outputs) if callable(self.output) else outputs[self.output]

  def __eq__(self, other):
    return isinstance(other, _Look) and self._key == other._key

  def __hash__(self):
    return hash(self._key)


class _LookAtEach:
  """The same output for several views of each image, one after the other."""

  def __init__(self, module: Any, drawn: Drawn, output: str):
    self.module, self.drawn, self.output = module, drawn, output
    self.reads = drawn.reads
    self._key = (repr(module), drawn, output)

  def __call__(self, variables, batch):
    def look(number):
      return everything(self.module, variables, self.drawn(batch, number))[self.output]

    return jnp.moveaxis(jax.lax.map(look, jnp.arange(self.drawn.views)), 0, 1)

  def __eq__(self, other):
    return isinstance(other, _LookAtEach) and self._key == other._key

  def __hash__(self):
    return hash(self._key)


def run_config(workdir: str | pathlib.Path, modules: Sequence[str] = (), overrides: Sequence[str] = ()):
  """The config of a run, if it may be trusted, with `--config.evaluation.key=value` changes for one evaluation.

  Raises:
    ConfigError: see `workdirs.trusted_config`; for a change of another key.
  """
  for argument in overrides:
    if not argument.startswith("--config.evaluation."):
      raise ConfigError(f"{argument}: of a run that is trained, only --config.evaluation.key=value can be changed")
  return configs.override(workdirs.trusted_config(workdir, modules), list(overrides))


def load_frozen(
  workdir: str | pathlib.Path,
  *,
  step: int | None = None,
  random: bool = False,
  modules: Sequence[str] = (),
  overrides: Sequence[str] = (),
) -> Frozen | FrozenGraph:
  """The network of a run that its config names for evaluation, or the graph that `config.evaluation.passes` spells out.

  Args:
    workdir: of the run.
    step: of the checkpoint; default the last.
    random: with the weights that the run began with, as a control.
    modules: whose functions the run's config may name, see `workdirs.trusted_config`.
    overrides: `--config.evaluation.key=value`.

  Raises:
    ConfigError: if the run has no such checkpoint, or what is to be evaluated cannot be told from its config.
  """
  workdir = user_path(workdir)
  config = run_config(workdir, modules, overrides)
  step = checkpoint.readable_step(workdir, step)
  config = trained_config(config, step, num_examples(workdir, config))
  specs = _specs(workdir, config) if config.evaluation.passes else ({}, {})
  return freeze(config, saved_weights(workdir, step), step, *specs, random=random)


def freeze(
  config,
  weights: Weights,
  step: int,
  element_spec: Mapping[str, Any],
  whole_spec: Mapping[str, Any],
  *,
  random: bool = False,
) -> Frozen | FrozenGraph:
  """The network that a config names for evaluation, or the graph that `config.evaluation.passes` spells out.

  Args:
    config: of the run, or of one of its phases.
    weights: of its networks; shapes in their place are enough to see whether it can be evaluated.
    step: that they are of.
    element_spec, whole_spec: name -> `jax.ShapeDtypeStruct` of one example of what the run is trained on, and of its whole
      arrays; only a graph needs them.
    random: with freshly drawn weights in their place.

  Raises:
    ConfigError: if what is to be evaluated cannot be told.
  """
  if config.evaluation.passes:
    return load_graph(config, weights, step, element_spec, whole_spec, random=random)
  name = evaluated_network(config)
  spec, variables = still_networks(config)[name], _variables(weights, name)
  view = evaluated_view(config, name)
  view = view._replace(channels=_channels(spec.module, variables, view))
  if random:
    key = environment.name_key(environment.run_key(config.seed), spec.ema_of or name)
    image = jax.ShapeDtypeStruct((1, *view.shape, view.channels), jnp.float32)
    variables, step = networks.initialise(spec.module, key, ((image,), {})), 0
  given = config.evaluation
  outputs = dict(feature=given.feature or "features", places=given.places or "patch_tokens")
  return Frozen(spec.module, variables, view, name=name, step=step, config=config, **outputs)


def saved_weights(workdir: pathlib.Path, step: int) -> Weights:
  """The weights of a run's networks in a checkpoint, which is read when the first of them is asked for."""
  arrays = functools.cache(lambda: checkpoint.load_variables(workdir, step))

  def weights(network):
    params, stats = checkpoint.network_arrays(arrays(), network)
    return jax.device_put((checkpoint.nested(params), checkpoint.nested(stats)))

  return weights


def _variables(weights: Weights, network: str) -> dict[str, Any]:
  params, stats = weights(network)
  return {"params": params, "batch_stats": stats}


class Sees(NamedTuple):
  """What a trained network takes and gives.

  Attributes:
    channels: of the images that it was trained on.
    outputs: name -> `jax.ShapeDtypeStruct` of what it says of a batch of one.
  """

  channels: int
  outputs: dict[str, jax.ShapeDtypeStruct]


def trained_shapes(config, workdir: pathlib.Path, step: int, name: str) -> Sees:
  """What a network of a run takes and gives, through the view of its evaluation.

  Args:
    config: of the run.
    workdir: of the run.
    step: of a checkpoint.
    name: of the network.

  Raises:
    ConfigError: if it takes no image of the evaluation's size.
  """
  params, stats = checkpoint.network_arrays(checkpoint.variable_shapes(workdir, step), name)
  variables = {"params": checkpoint.nested(params), "batch_stats": checkpoint.nested(stats)}
  module, view = still_networks(config)[name].module, evaluated_view(config, name)
  channels = _channels(module, variables, view)
  image = jax.ShapeDtypeStruct((1, *view.shape, channels), jnp.float32)
  return Sees(channels, jax.eval_shape(lambda *of: module.apply(*of, train=False), variables, image))


def _specs(workdir: pathlib.Path, config) -> tuple[dict[str, jax.ShapeDtypeStruct], dict[str, jax.ShapeDtypeStruct]]:
  """The types and shapes of an example of the data that a run was trained on, and of their whole arrays."""
  about = workdirs.read_record(workdir).get("data")
  if not about:
    source = data.load(config.data.name, split=config.data.split, **config.data.options)
    whole = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in source.whole.items()}
    return dict(source.element_spec), whole
  return _read_specs(about["arrays"]), _read_specs(about.get("whole", {}))


def _read_specs(texts: Mapping[str, str]) -> dict[str, jax.ShapeDtypeStruct]:
  """Specs as a fingerprint has them, `"int32[25, 2]"`."""
  spec = {}
  for name, text in texts.items():
    dtype, _, shape = text.partition("[")
    spec[name] = jax.ShapeDtypeStruct(tuple(int(n) for n in shape.rstrip("]").split(",") if n), np.dtype(dtype))
  return spec


def num_examples(workdir: pathlib.Path, config) -> int | None:
  """How many examples the run was trained on; None if that cannot be known here."""
  if not config.phases:
    return None
  about = workdirs.read_record(workdir).get("data")
  if about:
    return about["examples"]
  try:
    return len(data.load(config.data.name, split=config.data.split, **config.data.options))
  except ConfigError:
    return None


def _channels(module, variables, view: View) -> int:
  """The number of channels of the images that a network was trained on: the one that its parameters fit."""
  guesses = (len(view.mean),) if isinstance(view.mean, tuple) and len(view.mean) > 1 else (3, 1, 2, *range(4, 33))
  reasons = []
  for channels in guesses:
    image = jax.ShapeDtypeStruct((1, *view.shape, channels), jnp.float32)
    try:
      jax.eval_shape(lambda variables, image: module.apply(variables, image, train=False), variables, image)
      return channels
    except Exception as error:  # pylint: disable=broad-except  # whatever a module says of a shape
      reasons.append(" ".join(str(error).split())[:200])
  height, width = view.shape
  raise ConfigError(f"config.evaluation.size: the network does not take images of {height} x {width}: {reasons[0]}")
