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
import dataclasses
import functools
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from experiments.regime import ARM, in_styles, long_tailed, MODULE, Regime, with_few
from jssl import data, logging, losses, study
from jssl.arrays import patchify
from jssl.configs import common
from jssl.errors import ConfigError

SMALL = common.BACKBONES["demo"] | dict(stem=(24, 48, 96))


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


_DIGITS = dict(plain=True, image_size=40, seed=1)
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
      name="digits",
      data=dict(name="objects", split="train", options=dict(**_DIGITS, num_examples=8192)),
      train=dict(name="objects", split="train", options=dict(**_DIGITS, num_examples=4096)),
      test=dict(name="objects", split="test", options=dict(**_DIGITS, num_examples=1024)),
      classes=10,
      net=SMALL,
      view=dict(size=32, scale=(0.3, 1.0), flip=0.0, jitter=(0.4, 0.4, 0.0, 0.0), mean=0.2, std=0.35),
      size=40,
      steps=600,
      metrics={"ten labels": "few_labels/n10"},
      colours=False,
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
      colours=False,
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
      colours=False,
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
_SHIFTED_REGIME = REGIMES["fashion_mnist_shifted"]
REGIMES |= {
  regime.name: regime
  for regime in (
    # Each third of the classes has clothes of the upper body, which are hard to tell apart, and shoes.
    long_tailed(_SHIFTED_REGIME, many=(0, 5, 2), medium=(1, 3, 7, 6), few=(8, 4, 9)),
    in_styles(_SHIFTED_REGIME, seen=("plain", "inverted", "posterized", "textured"), unseen="edges"),
    in_styles(REGIMES["glyphs"], seen=("plain", "inverted", "textured", "edges"), unseen="posterized"),
    with_few(_SHIFTED_REGIME, share=0.1),
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


def picture(train: data.Source, test: data.Source, rows: tuple[int, int] = (4, 2), columns: int = 16) -> Image.Image:
  """The first examples of both sources, training images above, twice as large."""
  numbers = [np.arange(count * columns) for count in rows]
  image = np.concatenate([one.get(i, ("image",))["image"] for one, i in zip((train, test), numbers, strict=True)])
  _, height, width, channels = image.shape
  tiles = image.reshape(sum(rows), columns, height, width, channels).transpose(0, 2, 1, 3, 4)
  whole = Image.fromarray(tiles.reshape(sum(rows) * height, columns * width, channels).squeeze())
  return whole.resize((2 * whole.width, 2 * whole.height), Image.Resampling.NEAREST)


def save_picture(regime: Regime, places) -> None:
  """Puts a picture of the data beside the page, if there is none."""
  path = regime.folder / "examples.png"
  if not path.exists():
    config = study.placed(regime.labelled(), places)
    entries = config.data, config.evaluation.test_scenes if regime.places else config.evaluation.test
    sources = [data.load(entry.name, split=entry.split, **entry.options) for entry in entries]
    regime.folder.mkdir(parents=True, exist_ok=True)
    picture(*sources).save(path, optimize=True)


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
  places = study.places(arguments)
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
