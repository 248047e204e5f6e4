"""Evaluates a run: `python -m jssl.evaluate --workdir runs/mmc --protocols knn,linear [--baselines] [--report]`.

Writes `evaluation.json` into the workdir and prints a table in which every number stands with its protocol's parameters.
"""

import argparse
from collections.abc import Sequence
import json
import pathlib
import sys
from typing import Any, NamedTuple

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from jssl import checkpoint, data, environment, logging, networks, pictures, views, workdirs
from jssl.errors import ConfigError, nearest, NonFiniteError
from jssl.evaluation import format_table, protocols
from jssl.evaluation.features import extract_features
from jssl.graph import owner
from jssl.nodes import flat_names
from jssl.schedules import Horizon

_OF_PLACES = {"position only": protocols.position_model, "everything foreground": protocols.foreground_model}
BASELINES = ("random weights", "raw pixels", *_OF_PLACES)


class Frozen(NamedTuple):
  """A network that is only looked through.

  Attributes:
    module: backbone and heads.
    variables: `params` and `batch_stats`.
    size, mean, std: of the view through which it sees images, see `jssl.views.resize_view`.
    feature: which of its outputs stands for the image.
    grayscale: whether it sees images in grey.
  """

  module: Any
  variables: dict[str, Any]
  size: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  feature: str = "features"
  grayscale: bool = False

  def outputs(self, images) -> dict[str, jax.Array]:
    """Everything that the network says of `images [n, H, W, C]` uint8."""
    return _outputs(self, self.variables, images)

  def feature_model(self, name: str) -> protocols.FeatureModel:
    """The network as the protocols want it."""

    def extract(output):
      apply = jax.tree_util.Partial(lambda variables, images: _outputs(self, variables, images)[output], self.variables)
      return lambda images: extract_features(apply, images)

    shapes = jax.eval_shape(self.outputs, jax.ShapeDtypeStruct((1, self.size, self.size, len(self.mean)), jnp.uint8))
    if self.feature not in shapes:
      raise ConfigError(f"config.evaluation.feature='{self.feature}': {nearest(self.feature, shapes)}")
    has_patches = "patch_tokens" in shapes
    return protocols.FeatureModel(
      name=name,
      image_features=extract(self.feature),
      patch_features=extract("patch_tokens") if has_patches else None,
      grid=self.module.grid((self.size, self.size, len(self.mean))) if has_patches else None,
    )


def _outputs(frozen: Frozen, variables, images):
  view = lambda image: views.resize_view(
    None, image, size=frozen.size, grayscale=frozen.grayscale, mean=frozen.mean, std=frozen.std
  )
  return frozen.module.apply(variables, jax.vmap(view)(pictures.as_float("image", images)), train=False)


def default_network(config) -> str:
  """The network that an evaluation looks through: the EMA teacher if there is one, else the first that sees a view."""
  if config.evaluation.network:
    return config.evaluation.network
  images = {*config.views, *config.masking}
  seeing = [spec.net for spec in config.passes.values() if owner(spec.reads[0], images)]
  teachers = [name for name in config.networks if "ema" in config.networks[name]]
  return (teachers or seeing)[0]


def view_number(entries, key: str) -> Any:
  """A number of the first view that a network may see: that no other view is made of.

  One that has no such number, a rotated crop's size for one, has that of the view of which it is made.

  Raises:
    ConfigError: if none of them has it.
  """
  made_of = {
    name: [owner(read.rpartition("=")[2], entries) for read in flat_names(entry.get("reads", ()))]
    for name, entry in entries.items()
  }
  parts = {part for owners in made_of.values() for part in owners}
  name = next(name for name in entries if name not in parts)
  while key not in entries[name]:
    name = next(filter(None, made_of[name]), None)
    if name is None:
      raise ConfigError(f"config.evaluation.{key}: no view has one; set it")
  return entries[name][key]


def load_frozen(
  workdir: str | pathlib.Path, *, step: int | None = None, random: bool = False, modules: Sequence[str] = ()
) -> Frozen:
  """The network of a run that its config names for evaluation.

  Args:
    workdir: of the run.
    step: of the checkpoint; default the last.
    random: with the weights that the run began with, as a control.
    modules: whose functions the run's config may name, see `workdirs.trusted_config`.
  """
  config = workdirs.trusted_config(workdir, modules)
  name = default_network(config)
  specs = networks.build(config.networks, Horizon(1), dict(axis_name=None, num_examples=1, dtype="float32"))
  if name not in specs:
    raise ConfigError(f"config.evaluation.network='{name}': {nearest(name, specs)}")
  module, chosen = specs[name].module, config.evaluation
  view = {key: view_number(config.views, key) if chosen[key] is None else chosen[key] for key in ("size", "mean", "std")}
  if random:
    key = environment.name_key(environment.run_key(config.seed), specs[name].ema_of or name)
    image = jax.ShapeDtypeStruct((1, view["size"], view["size"], len(view["mean"])), jnp.float32)
    variables = networks.initialise(module, key, ((image,), {}))
  else:
    params, stats = checkpoint.network_arrays(checkpoint.load_variables(workdir, step), name)
    variables = {
      "params": traverse_util.unflatten_dict(params, sep="/"),
      "batch_stats": traverse_util.unflatten_dict(stats, sep="/"),
    }
  return Frozen(
    module, jax.device_put(variables), feature=chosen.feature or "features", grayscale=chosen.get("grayscale", False), **view
  )


def load_data(config, names) -> protocols.EvaluationData:
  """The splits that the protocols need, in memory."""
  splits = {split for name in names for split in protocols.PROTOCOLS[name].splits}
  entries = dict(
    train=config.evaluation.train,
    test=config.evaluation.test,
    calibration=config.evaluation.calibration_scenes,
    scenes=config.evaluation.test_scenes,
  )
  loaded = {split: data.load(e.name, split=e.split, **e.options) for split, e in entries.items() if split in splits}
  num_classes = loaded["train"].num_classes if "train" in loaded else None
  return protocols.EvaluationData(**{k: in_memory(source) for k, source in loaded.items()}, num_classes=num_classes)


def in_memory(source: data.Source) -> dict[str, np.ndarray]:
  return source.arrays if source.arrays is not None else source.get(np.arange(len(source)))


def evaluate(
  workdir: str | pathlib.Path,
  names=None,
  *,
  step: int | None = None,
  baselines: bool | Sequence[str] = False,
  modules: Sequence[str] = (),
) -> dict:
  """Runs protocols on a run and, with `baselines`, on what it must beat.

  Args:
    workdir: of the run.
    names: of the protocols; default those that its config names.
    step: of the checkpoint; default the last.
    baselines: also what stands in `BASELINES`, or some of it: the same network with the weights that it began with, raw
      pixels, patch positions, and all patches alike.
    modules: whose functions the run's config may name, see `workdirs.trusted_config`.

  Returns:
    model -> protocol -> `metrics` and `parameters`; also written to `evaluation.json`.
  """
  config = workdirs.trusted_config(workdir, modules)
  names = list(config.evaluation.protocols if names is None else names)
  if isinstance(baselines, bool):
    baselines = BASELINES if baselines else ()
  for option, given, known in (("protocols", names, protocols.PROTOCOLS), ("baselines", baselines, BASELINES)):
    for name in given:
      if name not in known:
        raise ConfigError(f"--{option} {name}: unknown; {nearest(name, known)}")
  frozen = load_frozen(workdir, step=step, modules=modules)
  splits = load_data(config, names)
  trained = frozen.feature_model("pretrained")
  results = {trained.name: protocols.run_protocols(names, trained, splits)}
  for model in _baselines(baselines, workdir, trained, frozen, splits, modules):
    possible = [name for name in protocols.supported_protocols(model, splits) if name in names]
    results[model.name] = protocols.run_protocols(possible, model, splits)
  path = pathlib.Path(workdir) / "evaluation.json"
  path.write_text(json.dumps(results, indent=2, default=_plain))
  return results


def _baselines(names, workdir, trained, frozen, splits, modules):
  """Those of the baselines that this network and these data allow."""
  if "random weights" in names:
    yield load_frozen(workdir, random=True, modules=modules).feature_model("random weights")
  if "raw pixels" in names and (splits.train is not None or splits.scenes is not None):
    images = splits.array("train" if splits.train is not None else "scenes", "image")
    patch = frozen.size // trained.grid[0] if trained.grid else frozen.size
    yield protocols.raw_pixel_model(images, patch, images.shape[1:3])
  if trained.grid and splits.scenes is not None:
    yield from (model(trained.grid) for name, model in _OF_PLACES.items() if name in names)


def _plain(value):
  """NumPy's numbers and arrays as JSON has them."""
  return value.tolist() if hasattr(value, "tolist") else str(value)


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(prog="python -m jssl.evaluate", description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", required=True)
  parser.add_argument("--protocols", help=f"some of {','.join(protocols.PROTOCOLS)}; default the config's")
  parser.add_argument("--step", type=int, help="of the checkpoint; default the last")
  parser.add_argument(
    "--baselines",
    nargs="?",
    const=",".join(BASELINES),
    default="",
    help=f"also what a run must beat: some of {','.join(BASELINES)}; without a value all",
  )
  parser.add_argument("--report", action="store_true", help="write report.html into the workdir")
  parser.add_argument("--modules", default="", help="modules outside jssl whose functions the run's config may name")
  arguments = parser.parse_args(argv)
  logging.setup()
  names = arguments.protocols.split(",") if arguments.protocols else None
  baselines, modules = (tuple(filter(None, text.split(","))) for text in (arguments.baselines, arguments.modules))
  try:
    results = evaluate(arguments.workdir, names, step=arguments.step, baselines=baselines, modules=modules)
    print(format_table(results))
    if arguments.report:
      from jssl.report import run_report  # pylint: disable=g-import-not-at-top

      print(f"report: {run_report.write(arguments.workdir, results, modules=modules)}")
  except (ConfigError, NonFiniteError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
