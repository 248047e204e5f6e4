"""PED: which of twelve networks is best fine-tuned on a set, told by scores of their features alone?

    python -m experiments.ped.run --at fashion_mnist=/my/fashion-mnist glyphs=/my/fonts

A run pretrains one network in eight ways on Fashion-MNIST at random places, four of them looked at after a fifth of the
steps too, and fine-tunes each of the twelve on three sets with few labels. A score sees the features of the labelled images
that the fine-tuning sees, and is worth the order that it gives: weighted Kendall's tau with the accuracies. PED moves the
features before a score looks; its control moves each class as far, in a direction of chance. --steps, --finetune-steps and
--labels make a larger study, in a folder of its own (--folder).
"""

import dataclasses
import functools
import pathlib
import statistics
import sys
from typing import NamedTuple

import numpy as np

from experiments.regimes import REGIMES
from jssl import data, extract, logging, study, transfer
from jssl.configs import common
from jssl.data import algebra, sprites
from jssl.data.sampling import uniform
from jssl.evaluation import transferability
from jssl.study.runner import arm_hash

REGIME = REGIMES["fashion_mnist_shifted"]
ARM = "twelve networks"
SIZE = REGIME.size
FLIPPED = ("fashion",)  # targets whose images may be mirrored: characters may not
HELD_OUT = 2000  # images of the pretraining's kind, by which PED scales features
TESTS = 3000  # images of a target, at most
DRAWS = 5  # of random directions
NEIGHBOURS = 20
BASES = dict(LogME=transferability.logme_score, SFDA=transferability.sfda_score, GBC=transferability.gbc_score)
DESCENTS = {"PED": {}, "PED, radius 0.3": dict(radius=0.3), "PED, time 0.3": dict(time=0.3), "PED, time 1": dict(time=1.0)}
RANDOM = "random directions"
NONE = "no order"


class Budget(NamedTuple):
  """What a study is made of.

  Attributes:
    steps: of pretraining.
    finetune_steps: of fine-tuning, in batches of 64.
    labels: a class.
  """

  steps: int = 300
  finetune_steps: int = 200
  labels: int = 50


class Model(NamedTuple):
  """A network that is ranked: of which run, and the checkpoint of which step."""

  run: str
  step: int


def runs(budget: Budget) -> dict:
  """Name -> config of pretraining: the regime's network in all of them."""
  methods = dict(SimCLR="simclr", VICReg="vicreg", BYOL="byol", GMML="gmml", rotation="rotation")
  methods["Barlow Twins"] = "barlow_twins"
  found = {name: REGIME.method(method) for name, method in methods.items()}
  # GMML destroys pixels, not tokens, so that it needs neither patches of its own nor to go without convolutions.
  patch = REGIME.net["patch_size"]
  student = found["GMML"].networks.student
  student.update({key: REGIME.net[key] for key in ("patch_size", "stem", "layer_scale")})
  student.heads.pixels.patch_size = patch
  found["GMML"].update(common.gmml_reconstruction(("a",), patch=patch))
  found["labels"] = REGIME.labelled()
  for config in found.values():
    config.total_steps = budget.steps
    config.checkpoint_every_steps = config.checkpoint.keep_every = _early(budget)
  found["random weights"] = REGIME.labelled()
  found["random weights"].total_steps = 1
  found["random weights"].optim.update(dict(lr=1e-12, warmup_fraction=None))
  return found


def _early(budget: Budget) -> int:
  return max(budget.steps // 5, 1)


def models(budget: Budget) -> dict[str, Model]:
  """Name -> the network that is ranked."""
  last = {name: Model(name, config.total_steps) for name, config in runs(budget).items()}
  early = {f"{name}, early": Model(name, _early(budget)) for name in ("SimCLR", "VICReg", "Barlow Twins", "BYOL")}
  return last | early


def digits(split: str) -> data.Source:
  """Scikit-learn's digits, three times as large, each at a random place; what does not train, tests."""
  parts = [sprites.digit_sprites(part) for part in (("train",) if split == "train" else ("calibration", "test"))]
  alpha = np.concatenate([part.alpha for part in parts]).repeat(3, 1).repeat(3, 2)
  image = np.zeros((len(alpha), SIZE, SIZE, 1), np.uint8)
  side = alpha.shape[1]
  places = (uniform((1, split == "train"), (len(alpha), 2)) * (SIZE - side + 1)).astype(int)
  for canvas, one, (top, left) in zip(image, alpha, places, strict=True):
    canvas[top : top + side, left : left + side, 0] = np.rint(255 * one)
  return dataclasses.replace(
    data.from_arrays(image=image, label=np.concatenate([part.label for part in parts])), name=f"digits/{split}"
  )


def targets(places) -> dict[str, tuple[data.Source, data.Source]]:
  """Name -> training images, of which some have labels, and test images."""
  at = lambda name: f"{name}:{places[name]}" if name in places else name
  load = lambda name, split, **options: data.load(at(name), split=split, **options)
  fashion, canvas = functools.partial(load, "fashion_mnist"), dict(canvas=SIZE, seed=1)
  glyphs = functools.partial(load, "glyphs", image_size=SIZE, seed=1)
  return dict(
    # The first test images scale features, and are no tests.
    fashion=(fashion("train", **canvas), _part(fashion("test", **canvas), HELD_OUT, TESTS)),
    capitals=(glyphs("train"), glyphs("test", num_examples=TESTS)),
    digits=(digits("train"), digits("test")),
  )


def held_out(places) -> data.Source:
  """Images like those of the pretraining, which no network has seen."""
  name = f"fashion_mnist:{places['fashion_mnist']}" if "fashion_mnist" in places else "fashion_mnist"
  return data.load(name, split="test", canvas=SIZE, seed=1, num_examples=HELD_OUT)


def _part(source: data.Source, first: int, count: int) -> data.Source:
  arrays = source.get(np.arange(first, first + count), ("image", "label"))
  return dataclasses.replace(data.from_arrays(**arrays), name=f"{source.name}[{first}:{first + count}]")


@dataclasses.dataclass(frozen=True)
class Ranked(study.Pretrained):
  """Pretrains, fine-tunes and scores every network, and holds each score's order against the accuracies.

  Attributes:
    budget: of the arm.
  """

  budget: Budget = Budget()

  def __call__(self, arm, seed, workdir):
    del arm  # what it says is what `runs` makes
    for name, config in runs(self.budget).items():
      study.train(study.placed(config, self.places), seed, workdir / name)
    reference = held_out(self.places)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for target, (train, test) in targets(self.places).items():
      few = algebra.fraction(train, per_class=self.budget.labels, seed=seed)
      for name, (run, step) in models(self.budget).items():
        features = lambda source, place=workdir / run, step=step: extract.extract(place, source, step=step)
        labelled, scales = features(few), features(reference)["features"]
        one = scored(labelled["features"], labelled["label"], scales, seed)
        one["accuracy"] = self.finetuned(workdir / run, step, target, few, test)
        found.setdefault(target, {})[name] = one
    return {NONE: 0.0} | each(found) | compared(found)

  def finetuned(self, place, step: int, target: str, few: data.Source, test: data.Source) -> float:
    """The accuracy of a network after fine-tuning."""
    steps = (f"--config.total_steps={self.budget.finetune_steps}",)
    overrides = steps + (() if target in FLIPPED else ("--config.views.shown.flip=0.0",))
    result = transfer.transfer(place, train=few, test=test, step=step, name=f"{target}_{step}", overrides=overrides)
    return result["pretrained"]["accuracy"]["metrics"]["accuracy (top 1)"]


def scored(features: np.ndarray, labels: np.ndarray, reference: np.ndarray, seed: int) -> dict[str, float]:
  """All scores of a network on a target, and how far PED moved the classes; NaN for what it cannot be given."""
  x, y = np.asarray(features, np.float64), np.unique(labels, return_inverse=True)[1]
  seeded = dict(NLEEP=transferability.nleep_score, PARC=transferability.parc_score)
  scores = dict(kNN=neighbours) | {name: functools.partial(score, seed=seed) for name, score in seeded.items()} | BASES
  found = {name: _tried(score, x, y) for name, score in scores.items()}
  for descent, numbers in DESCENTS.items():
    moved = _tried(functools.partial(transferability.potential_energy_descent, **numbers), x, y, reference, otherwise=None)
    found |= {f"{descent}/shift": moved.shift if moved else 0.0, f"{descent}/steps": float(moved.steps) if moved else 0.0}
    places = {descent: moved.features if moved else x}
    if not numbers:
      rngs = [np.random.default_rng((seed, draw)) for draw in range(DRAWS)]
      places |= {f"{RANDOM} {draw}": randomly(x, y, moved, rng) if moved else x for draw, rng in enumerate(rngs)}
    found |= {f"{base} + {name}": _tried(score, z, y) for name, z in places.items() for base, score in BASES.items()}
  return found


def _tried(function, *arguments, otherwise: float | None = float("nan")):
  """What a function returns, or something else where it refuses a network, such as one that has collapsed."""
  try:
    return function(*arguments)
  except ValueError as error:
    logging.log.warning("a network that has no score: %s", error)
    return otherwise


def randomly(x: np.ndarray, y: np.ndarray, descent: transferability.Descent, rng) -> np.ndarray:
  """Features whose classes have moved as far as in a descent, each in a direction of its own, drawn at random."""
  directions = rng.normal(size=descent.displacement.shape)
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  return x + (directions * np.linalg.norm(descent.displacement, axis=1, keepdims=True) * descent.scale)[y]


def neighbours(x: np.ndarray, y: np.ndarray) -> float:
  """The accuracy of kNN on the labelled images themselves, each told by those of the other four fifths."""
  from sklearn.model_selection import cross_val_score  # pylint: disable=g-import-not-at-top
  from sklearn.neighbors import KNeighborsClassifier  # pylint: disable=g-import-not-at-top

  return float(cross_val_score(KNeighborsClassifier(NEIGHBOURS, metric="cosine"), x, y, cv=5).mean())


def each(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
  """Of each network its accuracies, and its scores as the paper has them, where it has one."""
  shown = ("accuracy", "kNN", "NLEEP", "PARC", *BASES, *(f"{base} + PED" for base in BASES))
  return {
    f"{name}/{target}/{number}": one[number]
    for target, networks in found.items()
    for name, one in networks.items()
    for number in shown
    if np.isfinite(one.get(number, np.nan))
  }


def compared(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
  """Each score's tau on each target and its mean, of random directions over the draws; and what there was to tell apart.

  Args:
    found: target -> network -> score or "accuracy".
  """
  metrics, taus = {}, {}
  for target, networks in found.items():
    truth = [one["accuracy"] for one in networks.values()]
    metrics |= {f"{target}/best": max(truth), f"{target}/worst": min(truth), f"{target}/mean": statistics.mean(truth)}
    names = [name for name in next(iter(networks.values())) if name != "accuracy"]
    for name in names:
      values = [one[name] for one in networks.values()]
      if name.endswith(("/shift", "/steps")):
        metrics[f"{target}/{name}"] = statistics.mean(values)
        continue
      score = name.rstrip("0123456789 ") if RANDOM in name else name
      taus.setdefault(score, {}).setdefault(target, []).append(order(values, truth))
      if RANDOM not in name:
        metrics[f"{target}/{name}/choice"] = truth[int(np.argmax(_lowest(values)))]
  for score, each in taus.items():
    means = {target: statistics.mean(values) for target, values in each.items()}
    metrics |= {f"{target}/{score}/tau": value for target, value in means.items()}
    metrics[f"{score}/tau"] = statistics.mean(means.values())
  return metrics


def _lowest(values: list[float]) -> np.ndarray:
  """Scores in which a network that could not be given one is below all others."""
  x = np.array(values, np.float64)
  known = x[np.isfinite(x)]
  return np.where(np.isfinite(x), x, known.min() - 1.0 if len(known) else 0.0)


def order(values: list[float], truth: list[float]) -> float:
  """Weighted Kendall's tau; 0 where all are equal, which orders nothing."""
  x = _lowest(values)
  return transferability.weighted_kendall(x, truth) if np.ptp(x) > 0 and np.ptp(truth) > 0 else 0.0


def claims() -> list[study.Claim]:
  """Of the paper: on its twelve networks and ten sets LogME gained 0.27 on average, GBC 0.26, SFDA 0.05."""

  def claim(sentence, better, worse, at_least=0.0):
    metrics = tuple(name if name == NONE or "/" in name else f"{name}/tau" for name in (better, worse))
    return study.claim(sentence, ARM, ARM, metric=metrics, at_least=at_least)

  return [
    *(
      claim(f"{target} has something to tell apart: the best network is five points above the worst", *ends, 0.05)
      for target in ("fashion", "capitals", "digits")
      for ends in [(f"{target}/best", f"{target}/worst")]
    ),
    claim("LogME orders the networks (tau of at least 0.3)", "LogME", NONE, 0.3),
    claim("kNN on the labelled images orders the networks (tau of at least 0.3)", "kNN", NONE, 0.3),
    *(claim(f"{base} orders the networks better behind PED", f"{base} + PED", base) for base in BASES),
    claim("LogME gains more by PED than by random directions", "LogME + PED", f"LogME + {RANDOM}"),
    claim("LogME behind PED orders the networks better than kNN", "LogME + PED", "kNN"),
    claim("LogME orders the networks better behind PED in steps of 1", "LogME + PED, time 1", "LogME"),
  ]


def table(rows) -> str:
  """Each score's tau and what it chooses, how far PED moves classes, and the accuracies."""
  rows = [row["metrics"] for row in rows if "metrics" in row]
  if not rows:
    return "Not measured yet."
  mean = lambda name: study.spread([row[name] for row in rows if name in row])
  names = [name.removesuffix("/tau") for name in rows[0] if name.endswith("/tau") and name.count("/") == 1]
  sets = [name.removesuffix("/best") for name in rows[0] if name.endswith("/best")]
  lines = [f"| score | mean tau | {' | '.join(f'{t} | its choice' for t in sets)} |", "|---" * (2 + 2 * len(sets)) + "|"]
  for name in names:
    cells = " | ".join(f"{mean(f'{t}/{name}/tau')} | {mean(f'{t}/{name}/choice')}" for t in sets)
    lines.append(f"| {name} | {mean(f'{name}/tau')} | {cells} |")
  for name in ("best", "mean", "worst"):
    cells = " | ".join(f" | {mean(f'{t}/{name}')}" for t in sets)
    lines.append(f"| {name} network | | {cells} |")
  lines += ["", f"| shift of classes | {' | '.join(f'{t} | steps' for t in sets)} |", "|---" * (1 + 2 * len(sets)) + "|"]
  for name in DESCENTS:
    cells = " | ".join(f"{mean(f'{t}/{name}/shift')} | {mean(f'{t}/{name}/steps')}" for t in sets)
    lines.append(f"| {name} | {cells} |")
  shown = ("accuracy", "kNN", "LogME", "LogME + PED")
  lines += ["", f"| network | {' | '.join(f'{t}: {s}' for t in sets for s in shown)} |"]
  lines.append("|---" * (1 + len(sets) * len(shown)) + "|")
  for name in [name.partition("/")[0] for name in rows[0] if name.endswith(f"/{sets[0]}/accuracy")]:
    lines.append(f"| {name} | {' | '.join(mean(f'{name}/{t}/{s}') for t in sets for s in shown)} |")
  return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
  parser = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2))
  for name, default in Budget()._asdict().items():
    parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"default {default}")
  arguments = parser.parse_args(argv)
  budget = Budget(**{name: getattr(arguments, name) for name in Budget._fields})
  return study.execute(
    arguments,
    lambda: dict(
      arms={ARM: dict(budget=budget._asdict(), runs={name: arm_hash(one) for name, one in runs(budget).items()})},
      measure=Ranked(places=study.places(arguments), budget=budget),
      claims=claims(),
      about=dict(paper="PED", url="https://arxiv.org/abs/2308.15074"),
      regime=REGIME.folder,
      table=table,
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
