"""Regimes: data, network, views and steps in which there is something to learn, by their controls alone.

    python -m experiments.regimes                        # measures the controls of all regimes, three seeds each
    python -m experiments.regimes --only glyphs --at glyphs=/my/fonts --budget 8

A control knows nothing of any method: random weights, raw pixels, and the same network with labels, for as many steps
on the same views. Where labels are not well above the others nobody could tell a method from a broken one. A study takes
a regime's pieces and names its folder, `study.run(..., regime=REGIMES["glyphs"].folder)`, which is refused unless labels
were shown to beat every other control:

    config = REGIMES["glyphs"].put(load_config("simclr"))
    config.views = REGIMES["glyphs"].views("a", "b")
    config.networks.student.update(REGIMES["glyphs"].net)
"""

import argparse
from collections.abc import Mapping
import dataclasses
import functools
import pathlib
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jssl import config as configs
from jssl import data, logging, losses, study
from jssl.arrays import patchify
from jssl.configs import common
from jssl.errors import ConfigError

MODULE = "experiments.regimes"
HERE = pathlib.Path(__file__).parent / "regimes"
ARM = "with labels"
HEAD_ROOM = 0.1  # by which labels beat the other controls
SMALL = common.BACKBONES["demo"] | dict(stem=(24, 48, 96))


@dataclasses.dataclass(frozen=True)
class Regime:
  """One regime.

  Attributes:
    name: also of its folder.
    data: what is trained on, as `config.data` names it: name and options.
    train, test: what is evaluated on, as `config.evaluation` has them.
    classes: of its labels; 0 where the control with labels knows objects.
    net: the network, without heads.
    view: numbers of one random view, see `jssl.views.augment`.
    size: of the images in an evaluation, in pixels.
    steps, batch_size, lr: of AdamW with a tenth of the steps to warm up, weight decay 0.05.
    protocols: of its evaluation.
    metrics: title -> metric, by which head-room is measured.
    lower: metrics of which smaller numbers are better.
    controls: beside the network with labels.
    grey: whether images have one channel, and views are to have three.
    places: whether the labels of the control are the objects of `scenes`.
  """

  name: str
  data: dict[str, Any]
  train: dict[str, Any]
  test: dict[str, Any]
  classes: int
  net: dict[str, Any]
  view: dict[str, Any]
  size: int
  steps: int
  batch_size: int = 128
  lr: float = 2e-3
  protocols: tuple[str, ...] = ("knn:k=20", "few_labels")
  metrics: dict[str, str] = dataclasses.field(default_factory=lambda: {"kNN": "knn/k20", "ten labels": "few_labels/n10"})
  lower: tuple[str, ...] = ()
  controls: tuple[str, ...] = ("random weights", "raw pixels")
  grey: bool = False
  places: bool = False

  @property
  def folder(self) -> pathlib.Path:
    return HERE / self.name

  def put(self, config):
    """Puts data, steps, optimizer and evaluation into a config, in place; views and networks are the caller's."""
    config.optim.update(dict(name="adamw", lr=self.lr, lr_scale=None, warmup_fraction=0.1))
    with config.optim.ignore_type():  # a method's may be a schedule
      config.optim.weight_decay = 0.05
    return self._put_data(config)

  def _put_data(self, config):
    config.data.update(self.data)
    config.update(dict(batch_size=self.batch_size, total_steps=self.steps, log_every_steps=50, checkpoint_every_steps=250))
    evaluation = dict(train=self.train, test=self.test, size=self.size, protocols=self.protocols)
    config.evaluation.update(evaluation)
    return config

  def views(self, *names: str, **changes) -> dict[str, dict]:
    """Random views of these names, and what they are made of."""
    source = ("rgb", "extent=extent") if self.grey else common.IMAGE
    first = dict(rgb=dict(fn="as_rgb", reads=("image",))) if self.grey else {}
    return first | {name: dict(fn="augment", reads=source, **self.view | changes) for name in names}

  def method(self, name: str):
    """The demo of a method on this regime: its own losses, heads, masks and optimizer.

    Its views keep their sizes and what they do; they crop as much as the regime's do and have its colours, where they change
    any, and its statistics. Networks are as wide and deep as the regime's; those that see patches of 8 px are the regime's.
    """
    config = self._put_data(configs.load_config(name))
    source = ("rgb", "extent=extent") if self.grey else common.IMAGE
    views = {view: entry.to_dict() for view, entry in config.views.items() if view != "object"}
    largest = max(entry["size"] for entry in views.values() if "size" in entry and entry["fn"] != "low_frequency_crop")
    for entry in views.values():
      if entry["reads"] in (common.IMAGE, ("object",)):
        entry["reads"] = source
        entry |= dict(scale=self.view["scale"]) if entry.get("size") == largest and "scale" in entry else {}
      entry |= {key: self.view[key] for key in ("mean", "std") if entry.get(key, 0.0) not in (0.0, 1.0)}
      if isinstance(entry.get("jitter"), tuple):
        entry |= {key: self.view[key] for key in ("jitter", "jitter_prob") if key in self.view and key in entry}
      entry |= dict(grayscale=self.view.get("grayscale", 0.0)) if "grayscale" in entry else {}
      entry |= dict(flip=self.view["flip"]) if "flip" in self.view and entry["fn"] == "augment" else {}
    config.views = self.views() | views
    for network in config.networks.values():
      if network.get("fn") == "vit":
        same = ("width", "depth", "num_heads") + (("stem",) if network.patch_size == self.net["patch_size"] else ())
        network.update({key: self.net[key] for key in same})
    return config

  def labelled(self):
    """The config of the control with labels: the regime's network on its views, and a linear classifier.

    Where places are evaluated, patches of one object are to be alike, and no others.
    """
    config = self.put(configs.default_config())
    if self.places:
      return self._labelled_places(config)
    head = dict(fn="linear_head", output=self.classes, init="mae", reads=("features",))
    config.views = self.views("v")
    config.networks = dict(student=dict(**self.net, heads=dict(classes=head)))
    config.passes = dict(s=dict(net="student", reads=("v",)))
    config.losses = dict(ce=dict(fn="softmax_cross_entropy_loss", reads=("s/classes", "label")))
    return config

  def _labelled_places(self, config):
    """Views are whole images, of which a step sees as many patches as of the regime's views."""
    config.batch_size = self.batch_size * self.view["size"] ** 2 // self.size**2
    config.views = self.views("v", size=self.size, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
    config.networks = dict(student=self.net | dict(image_size=self.size))
    config.passes = dict(s=dict(net="student", reads=("v",)))
    patch = self.net["patch_size"]
    config.targets = dict(y=dict(fn=f"{MODULE}:patch_objects", reads=("segments",), patch=patch))
    config.losses = dict(con=dict(fn=f"{MODULE}:object_contrast_loss", reads=("s/patch_tokens", "y"), temperature=0.1))
    return config

  def study_table(self, rows, arm: str, columns: Mapping[str, str]) -> str:
    """The arms of a study on this regime, title -> metric, and below them the controls of one of them."""
    if not rows:
      return "Not measured yet."
    controls = {control: f"{control}/" for control in self.controls}
    chosen = [row for row in rows if row["arm"] == arm]
    return f"{study.rows_table(rows, columns)}\n\n{study.controls_table(chosen, self.metrics, controls)}"

  def claims(self) -> list[study.Claim]:
    """That there is head-room: labels beat each of the other controls."""
    return [
      study.claim(
        f"labels beat {control} by {title}",
        ARM,
        ARM,
        metric=(metric, f"{control}/{metric}"),
        at_least=HEAD_ROOM,
        lower=metric in self.lower,
      )
      for title, metric in self.metrics.items()
      for control in self.controls
    ]


def patch_objects(segments, *, patch: int):
  """The object that most pixels of each patch show.

  Args:
    segments: `[batch, height, width]`, 0 for the background, k + 1 for the object k, of at most 15 objects.
    patch: its side.

  Returns:
    int32 `[batch, patches]`.
  """
  counts = (patchify(segments[..., None], patch=patch)[..., None] == jnp.arange(16)).sum(2)
  return counts.argmax(-1).astype(jnp.int32)


def object_contrast_loss(tokens, objects, *, temperature: float):
  """Each patch finds the others of its object, or of the background, among the patches of its image.

  Args:
    tokens: `[batch, patches, dim]`.
    objects: int32 `[batch, patches]`.
    temperature: see `jssl.losses.supervised_contrastive_loss`.

  Returns:
    The mean of that loss over the images, and its metrics.
  """
  loss, metrics = jax.vmap(functools.partial(losses.supervised_contrastive_loss, temperature=temperature))(tokens, objects)
  return jnp.mean(loss), jax.tree.map(jnp.mean, metrics)


_FASHION = dict(name="fashion_mnist", split="train")
_SHIFTED = dict(canvas=40, seed=1)
_GREY_VIEW = dict(size=32, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.0, 0.0), mean=0.5, std=0.27)
_ON_SCENES = {"prompt mIoU": "prompt_segmentation/miou_random_fixed", "overlap": "object_similarity/overlap"}

REGIMES = {
  regime.name: regime
  for regime in (
    Regime(
      name="scenes",
      data=dict(name="scenes", split="train", options={}),
      train=dict(name="scenes", split="train", options={}),
      test=dict(name="scenes", split="test", options={}),
      classes=0,
      net=dict(fn="vit", image_size=32, patch_size=4, **common.TINY),
      view=dict(size=32, scale=(0.3, 1.0), jitter=(0.4, 0.4, 0.4, 0.5), jitter_prob=1.0, grayscale=0.2),
      size=64,
      steps=2400,
      batch_size=64,
      protocols=("prompt_segmentation", "object_similarity"),
      metrics=_ON_SCENES,
      lower=("object_similarity/overlap",),
      controls=("random weights", "raw pixels", "position only"),
      places=True,
    ),
    Regime(
      name="fashion_mnist_shifted",
      data=dict(**_FASHION, options=_SHIFTED),
      train=dict(**_FASHION, options=dict(**_SHIFTED, num_examples=20000)),
      test=dict(name="fashion_mnist", split="test", options=dict(**_SHIFTED, num_examples=5000)),
      classes=10,
      net=SMALL,
      view=_GREY_VIEW,
      size=40,
      steps=1000,
      grey=True,
    ),
    Regime(
      name="fashion_mnist",
      data=dict(**_FASHION, options={}),
      train=dict(**_FASHION, options=dict(num_examples=20000)),
      test=dict(name="fashion_mnist", split="test", options=dict(num_examples=5000)),
      classes=10,
      net=SMALL,
      view=_GREY_VIEW,
      size=32,
      steps=1000,
      grey=True,
    ),
    Regime(
      name="glyphs",
      data=dict(name="glyphs", split="train", options=dict(seed=1)),
      train=dict(name="glyphs", split="train", options=dict(seed=1)),
      test=dict(name="glyphs", split="test", options=dict(seed=1)),
      classes=26,
      net=SMALL,
      view=dict(
        size=32, scale=(0.4, 1.0), flip=0.0, jitter=(0.6, 0.6, 0.6, 0.5), jitter_prob=0.9, grayscale=0.3, mean=0.5, std=0.27
      ),
      size=32,
      steps=1500,
    ),
  )
}


@dataclasses.dataclass(frozen=True)
class Controls(study.Pretrained):
  """Trains the network with labels and evaluates it beside the others; `chance/...` is what the largest class gives."""

  def __call__(self, arm, seed, workdir):
    from jssl import evaluate  # pylint: disable=g-import-not-at-top

    metrics = study.train(study.placed(arm, self.places), seed, workdir)
    found = evaluate.evaluate(workdir, baselines=self.baselines, modules=self.modules)
    for protocol, result in found["pretrained"].items():
      if "chance" in result.get("parameters", {}):
        metrics |= {f"chance/{protocol}/{name}": result["parameters"]["chance"] for name in result["metrics"]}
    return metrics | study.numbers(found)


def table(regime: Regime, rows) -> str:
  """What each control reaches, and what a seed costs."""
  rows = [row for row in rows if "metrics" in row]
  if not rows:
    return "Not measured yet."
  models = {control: f"{control}/" for control in ("chance", *regime.controls)} | {ARM: ""}
  commits = ", ".join(dict.fromkeys((row["commit"] or "none")[:7] for row in rows))
  seconds, mib = (study.spread([row[key] for row in rows], ".0f", deviation=False) for key in ("seconds", "mib"))
  seeds = ", ".join(str(row["seed"]) for row in rows)
  cost = f"{regime.steps} steps of {regime.labelled().batch_size}; {seconds} s and {mib} MiB a seed"
  return f"{study.controls_table(rows, regime.metrics, models)}\n\nSeeds {seeds}; {cost}; commit {commits}."


def picture(source: data.Source, rows: int = 4, columns: int = 16) -> Image.Image:
  """The first examples of a source, twice as large."""
  image = source.get(np.arange(rows * columns), ("image",))["image"]
  _, height, width, channels = image.shape
  tiles = image.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
  whole = Image.fromarray(tiles.reshape(rows * height, columns * width, channels).squeeze())
  return whole.resize((2 * whole.width, 2 * whole.height), Image.Resampling.NEAREST)


def save_picture(regime: Regime, places) -> None:
  """Puts a picture of the data beside the page, if there is none."""
  path = regime.folder / "examples.png"
  if not path.exists():
    entry = study.placed(regime.labelled(), places).data
    regime.folder.mkdir(parents=True, exist_ok=True)
    picture(data.load(entry.name, split=entry.split, **entry.options)).save(path, optimize=True)


def measure(regime: Regime, seeds, places, budget: float | None, at_once: int = 1, retry: bool = False) -> study.Ledger:
  """Measures a regime's controls, as far as they are not measured."""
  save_picture(regime, places)
  return study.run(
    regime.folder,
    arms={ARM: regime.labelled()},
    seeds=seeds,
    measure=Controls(baselines=regime.controls, modules=(MODULE,), places=places),
    claims=regime.claims(),
    workdir=f"runs/regimes/{regime.name}",
    table=functools.partial(table, regime),
    budget_minutes=budget,
    at_once=at_once,
    retry=retry,
  )


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(prog="python -m experiments.regimes", description=__doc__.splitlines()[0])
  parser.add_argument("--only", nargs="+", default=[*REGIMES], choices=[*REGIMES])
  parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="with which head-room is claimed")
  parser.add_argument("--at", nargs="+", default=[], metavar="DATA=FOLDER", help="where data are that are not in /usr/share")
  parser.add_argument("--budget", type=float, help="minutes; the same command goes on")
  parser.add_argument("--at-once", type=int, default=1, help="runs at the same time")
  parser.add_argument("--retry", action="store_true", help="run again what failed")
  arguments = parser.parse_args(argv)
  logging.setup()
  begun = time.monotonic()
  places = dict(pair.split("=", 1) for pair in arguments.at)
  try:
    for name in arguments.only:
      left = None if arguments.budget is None else arguments.budget - (time.monotonic() - begun) / 60
      ledger = measure(REGIMES[name], arguments.seeds, places, left, arguments.at_once, arguments.retry)
      print(f"{name}: head-room by {', '.join(ledger.head_room()) or 'nothing so far'}; {ledger.folder}/README.md")
  except ConfigError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
