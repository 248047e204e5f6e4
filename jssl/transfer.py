"""A run's network, used with labels: `python -m jssl.transfer --workdir runs/mae --recipe finetune [--labels 10]`.

A recipe, one of `configs/transfer`, makes an ordinary config of what is known of the run: its network, the view of its
evaluation and the data. That config is trained in `runs/mae/transfer/<name>` by the same loop, and evaluated; the same
command goes on where it stopped. `--scratch` leaves the weights out, and nothing else.
"""

import argparse
from collections.abc import Mapping, Sequence
import importlib
import inspect
import pathlib
import pkgutil
import re
import sys
from typing import Any, NamedTuple

import ml_collections

from jssl import checkpoint, data, logging, nodes
from jssl import config as configs
from jssl.data import algebra
from jssl.errors import CheckpointError, ConfigError, nearest, NonFiniteError, Stopped, UnknownPresetError
from jssl.evaluate import evaluate
from jssl.evaluation import Evaluation, format_table
from jssl.evaluation.choice import evaluated_network, evaluated_view, trained_config
from jssl.evaluation.frozen import num_examples, run_config, trained_shapes
from jssl.evaluation.view import View
from jssl.files import user_path
from jssl.train import train_to_its_end
from jssl.values import words


class Pretrained(NamedTuple):
  """What a recipe may know of the run that it starts from.

  Attributes:
    load: where the network's weights are, `"workdir@step:network"`; None to begin from scratch.
    entry: of the network in its run's config, without its heads.
    feature: which of its outputs stands for the image.
    view: of the run's evaluation.
    grey: whether the data's images have one channel and the network sees three.
    flip: the probability of a mirrored view in the run's own views.
    width: of what stands for the image.
    classes: of the labels.
    train, test: the data, as `config.data` and `config.evaluation.test` name them.
    seed: of the run.
  """

  load: str | None
  entry: dict[str, Any]
  feature: str
  view: View
  grey: bool
  flip: float
  width: int
  classes: int
  train: dict[str, Any]
  test: dict[str, Any]
  seed: int = 0

  @property
  def is_transformer(self) -> bool:
    """Whether its layers can be counted, for a learning rate by layer."""
    return self.entry["fn"] == "vit"

  @property
  def undecayed(self) -> tuple[str, ...]:
    """Expressions of its class token and of learned positions, which have more than one dimension and are not decayed."""
    if not self.is_transformer:
      return ()
    learned = self.entry.get("position", "learned") == "learned"
    return (("/cls$",) if self.entry.get("cls_token", True) else ()) + (("/pos_embedding$",) if learned else ())

  @property
  def image(self) -> tuple[str, ...]:
    """What a view reads: the image as the network is to see it, and its extent."""
    return ("rgb" if self.grey else "image", "extent=extent")

  def base(self) -> ml_collections.ConfigDict:
    """A config with the data, and an evaluation through the run's view as `v`; networks and losses are the recipe's."""
    config = configs.default_config()
    config.seed = self.seed
    config.data.update(self.train)
    first = dict(rgb=dict(fn="as_rgb", reads=("image",))) if self.grey else {}
    view = dict(fn="resize_view", reads=self.image, size=self.view.size, mean=self.view.mean, std=self.view.std)
    more = dict(resize_to=self.view.resize_to, interpolation=self.view.interpolation, grayscale=self.view.grayscale)
    config.views = dict(first)
    config.evaluation.views = first | dict(v=view | {key: value for key, value in more.items() if value})
    config.evaluation.update(dict(protocols=("accuracy",), train=self.train, test=self.test))
    return config

  def network(self, *, heads: Mapping[str, Any] | None = None, frozen: bool = False, **numbers) -> dict[str, Any]:
    """The network's entry with other heads; `numbers` such as `drop_path` replace its own where its function has them.

    With `fc_norm` its last LayerNorm is another one, which begins anew.
    """
    fn = nodes.resolve("the pretrained network", self.entry["fn"], "models")
    entry = self.entry | {key: value for key, value in numbers.items() if nodes.accepts(fn, key)}
    entry |= dict(heads=dict(heads)) if heads else {}
    entry |= dict(frozen=True) if frozen else {}
    loaded = "^backbone/(?!fc_norm/|.*/encoder_norm/)" if entry.get("fc_norm") else "^backbone/"
    return entry | (dict(load=dict(run=self.load, only=(loaded,))) if self.load else {})


def pretrained(
  workdir: str | pathlib.Path,
  *,
  step: int | None = None,
  scratch: bool = False,
  source: data.Source | None = None,
  modules: Sequence[str] = (),
) -> Pretrained:
  """What of a run a recipe may know.

  Args:
    workdir: of the run.
    step: of the checkpoint; default the last.
    scratch: whether its weights are left out.
    source: the training data; default those of `config.evaluation.train`.
    modules: whose functions the run's config may name, see `workdirs.trusted_config`.

  Raises:
    ConfigError: if there is no such run or step, or its data have no labels.
  """
  workdir = user_path(workdir)
  config = run_config(workdir, modules)
  step = checkpoint.readable_step(workdir, step)
  config = trained_config(config, step, num_examples(workdir, config))
  name = evaluated_network(config)
  entry = config.networks[config.networks[name].get("ema", name)].to_dict()
  entry = {key: value for key, value in entry.items() if key not in ("heads", "load", "near", "frozen")}
  train, test = (config.evaluation[split].to_dict() for split in ("train", "test"))
  flips = {entry.get("flip", 0.5) for entry in config.views.values() if entry.get("fn") == "augment"}
  if source is None:
    source = data.load(train["name"], split=train["split"], **train["options"])
  if not source.num_classes:
    raise ConfigError(f"{source.name} has no labels, which a transfer needs")
  view = evaluated_view(config, name)
  if "image" not in source.element_spec:
    raise ConfigError(f"{source.name} has no 'image', which a recipe shows the network")
  sees, feature = trained_shapes(config, workdir, step, name), config.evaluation.feature or "features"
  if feature not in sees.outputs:
    raise ConfigError(f"config.evaluation.feature='{feature}': {nearest(feature, sees.outputs)}")
  return Pretrained(
    load=None if scratch else f"{workdir.absolute()}@{step}:{name}",
    entry=entry,
    feature=feature,
    view=view,
    grey=source.element_spec["image"].shape[-1] == 1 and sees.channels == 3,
    flip=max(flips, default=0.5),
    width=sees.outputs[feature].shape[-1],
    classes=source.num_classes,
    train=train,
    test=test,
    seed=config.seed,
  )


def transfer_config(run: Pretrained, recipe: str, *, modules: Sequence[str] = ()) -> ml_collections.ConfigDict:
  """The config of a recipe: `"finetune"`, `"finetune:imagenet"`, `"finetune:small,two_part"`, or `"module:function"`.

  Raises:
    ConfigError: if there is none, or it has no such preset or option.
  """
  name, _, words = recipe.partition(":")
  recipes = importlib.import_module("jssl.configs.transfer")
  known = sorted(module.name for module in pkgutil.iter_modules(recipes.__path__))
  if name in known:
    module = importlib.import_module(f"{recipes.__name__}.{name}")
    preset, *options = words.split(",") if words else [""]
    return _made(module.get_config, recipe, run, preset, options)
  if name in modules:
    return _made(getattr(importlib.import_module(name), words), recipe, run, "", [])
  raise ConfigError(f"--recipe {recipe}: {nearest(name, known)}, or module:function with --modules=module")


def _made(get_config, recipe: str, run: Pretrained, preset: str, options: Sequence[str]) -> ml_collections.ConfigDict:
  parameters = inspect.signature(get_config).parameters
  known = [name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
  for option in options:
    if option not in known:
      raise ConfigError(f"--recipe {recipe}: it has no option '{option}'; {nearest(option, known)}")
  try:
    return get_config(run, *filter(None, [preset]), **dict.fromkeys(options, True))
  except UnknownPresetError as error:
    raise ConfigError(f"--recipe {recipe}: it has no preset {error}") from error


def with_labels(entry: Mapping[str, Any], *, fraction: float | None = None, labels: int | None = None, seed: int = 0):
  """Data of which a part alone is used, as `config.data` names it: a fraction, or so many labels a class."""
  if fraction is None and labels is None:
    return dict(entry)
  chosen = dict(fn="fraction", seed=seed, **({"share": fraction} if labels is None else {"per_class": labels}))
  return dict(name="derived", split=entry["split"], options=dict(of=dict(entry), by=(chosen,)))


def transfer(
  workdir: str | pathlib.Path,
  recipe: str = "finetune",
  *,
  step: int | None = None,
  scratch: bool = False,
  fraction: float | None = None,
  labels: int | None = None,
  train: data.Source | None = None,
  test: data.Source | None = None,
  name: str | None = None,
  overrides: Sequence[str] = (),
  modules: Sequence[str] = (),
) -> Evaluation:
  """Trains a recipe on a run and evaluates it, in `<workdir>/transfer/<name>`.

  Args:
    workdir: of the pretrained run.
    recipe: see `transfer_config`.
    step: of its checkpoint; default the last.
    scratch: the same network, data and steps, from random weights.
    fraction: of the training examples, from each class its share; default all.
    labels: so many examples a class instead.
    train, test: labelled data of the user's own, in the place of what `config.evaluation` names.
    name: of the folder; by default the recipe and what is special.
    overrides: `--config.key=value`.
    modules: whose functions the run's config may name.

  Returns:
    As `jssl.evaluate.evaluate`.

  Raises:
    ConfigError: before anything is trained, for what cannot work.
    Stopped: if SIGTERM or Ctrl-C stopped the training; the same call goes on.
  """
  workdir = user_path(workdir)
  run = pretrained(workdir, step=step, scratch=scratch, modules=modules, source=train)
  run = run._replace(train=with_labels(run.train, fraction=fraction, labels=labels, seed=run.seed))
  config = configs.override(transfer_config(run, recipe, modules=modules), list(overrides))
  place = workdir / "transfer" / (name or _folder(recipe, scratch, fraction, labels))
  if train is not None and (fraction is not None or labels is not None):
    train = algebra.fraction(train, share=fraction, per_class=labels, seed=run.seed)
  train_to_its_end(config, place, source=train)
  return evaluate(place, train=train if test is not None else None, test=test, modules=modules)


def _folder(recipe: str, scratch: bool, fraction: float | None, labels: int | None) -> str:
  parts = [re.sub(r"\W+", "-", recipe)]
  parts += [f"fraction-{fraction:g}"] if fraction is not None else []
  parts += [f"labels-{labels}"] if labels is not None else []
  return "_".join(parts + (["scratch"] if scratch else []))


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    prog="python -m jssl.transfer",
    description=__doc__.splitlines()[0],
    epilog="--config.key=value changes any key of the recipe's config",
  )
  parser.add_argument("--workdir", required=True, help="of the pretrained run")
  parser.add_argument(
    "--recipe", default="finetune", help="finetune, linear; or with preset and options: finetune:small,two_part"
  )
  parser.add_argument("--step", type=int, help="of the checkpoint; default the last")
  parser.add_argument("--scratch", action="store_true", help="from random weights, as a control")
  few = parser.add_mutually_exclusive_group()
  few.add_argument("--fraction", type=float, help="of the training examples, in (0, 1]")
  few.add_argument("--labels", type=int, help="training examples a class")
  parser.add_argument("--name", help="of the folder in <workdir>/transfer")
  parser.add_argument(
    "--modules", type=words, default=(), help="modules outside jssl whose functions the run's config may name"
  )
  arguments, overrides = parser.parse_known_args(argv)
  logging.setup()
  options = vars(arguments)
  try:
    print(format_table(transfer(options.pop("workdir"), options.pop("recipe"), overrides=overrides, **options)))
  except Stopped:
    return 0  # as the log says
  except (CheckpointError, ConfigError, NonFiniteError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
