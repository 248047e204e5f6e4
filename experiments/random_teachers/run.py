"""Random teachers: does a student know more than the untrained network that it copies, on Fashion-MNIST at random places?

    python -m experiments.random_teachers.run --at fashion_mnist=/my/fashion-mnist --only student "alpha 1" noise
    python -m experiments.random_teachers.run --at fashion_mnist=/my/fashion-mnist

Arms differ in where the student starts between the teacher (alpha 0) and a draw of its own (alpha 1), or in what both are
shown. The first line runs what is claimed of the paper's network, the second also what lies between, fewer images, and a
vision transformer.
"""

import pathlib
import sys

import jax

from experiments.regimes import REGIMES, SMALL
from jssl import study
from jssl.study.runner import arm_hash

MODULE = "experiments.random_teachers.run"  # where a function is that the configs name
REGIME = REGIMES["fashion_mnist_shifted"]
STEPS, SIZE = 1500, 32
VGG = dict(fn="vgg", depth=11, width=16)
HEAD = dict(hidden=512, bottleneck=256, prototypes=1024)
NEAR, HALF, FAR, NOISE, FEW, VIT = "student", "alpha 0.5", "alpha 1", "noise", "500 images", "ViT"
ALSO = {"teacher": ("--config.evaluation.network=teacher",)}
LINEAR, KNN, TEN = "logistic_regression/accuracy", "knn/k20", "few_labels/n10"
METRICS = {"linear": LINEAR, "kNN": KNN, "ten labels": TEN}
COLUMNS = METRICS | {f"teacher's {title}": f"teacher/{metric}" for title, metric in METRICS.items()} | {"loss": "train/loss"}


def noise_like(rng: jax.Array, image: jax.Array) -> jax.Array:
  """Gaussian noise N(0, 1) in the place of an image, new in each step."""
  return jax.random.normal(rng, image.shape, image.dtype)


def config(alpha: float = 1e-3, backbone: dict | None = None):
  """The method on the regime's images, whole and as they are, on a VGG without BatchNorm or another network."""
  found = REGIME.method("random_teacher")
  found.total_steps = STEPS
  found.evaluation.protocols = (*REGIME.protocols, "logistic_regression")
  shown = {key: REGIME.view[key] for key in ("mean", "std")}
  found.views.v.update(dict(size=SIZE, **shown))
  found.evaluation.update(dict(size=SIZE, **shown))
  heads = dict(logits=dict(fn="dino_head", reads=("features",), **HEAD))
  net = dict(**(backbone or VGG), heads=heads)
  found.networks = dict(teacher=dict(net, frozen=True), student=dict(net, near=("teacher", alpha)))
  return found


def arms() -> dict:
  """Where the student starts, what it is shown, how many images there are, and another network."""
  found = {NEAR: config(), FAR: config(1.0), NOISE: config(), HALF: config(0.5), FEW: config(), VIT: config(backbone=SMALL)}
  found[NOISE].views.noise = dict(fn=f"{MODULE}:noise_like", reads=("v",))
  for one in found[NOISE].passes.values():
    one.reads = ("noise",)
  found[FEW].data.options = dict(REGIME.data["options"], num_examples=500)
  return found


def claims() -> list[study.Claim]:
  """Of the paper."""
  of_teacher = lambda metric: (metric, f"teacher/{metric}")
  return [
    study.claim(
      "a linear probe tells eight points more by the student than by its teacher",
      NEAR,
      NEAR,
      metric=of_teacher(LINEAR),
      at_least=0.08,
    ),
    study.claim("kNN tells more by the student than by its teacher", NEAR, NEAR, metric=of_teacher(KNN)),
    study.claim("ten labels a class tell more by the student than by its teacher", NEAR, NEAR, metric=of_teacher(TEN)),
    study.claim(
      "a linear probe tells five points more by the student than by raw pixels",
      NEAR,
      NEAR,
      metric=(LINEAR, f"raw pixels/{LINEAR}"),
      at_least=0.05,
    ),
    study.claim(
      "a student that was shown noise is not above its teacher by a point, by a linear probe",
      NOISE,
      NOISE,
      metric=of_teacher(LINEAR)[::-1],
      margin=0.01,
    ),
    study.claim("an independent student is above the teacher, by a linear probe", FAR, FAR, metric=of_teacher(LINEAR)),
    study.claim("a student near the teacher is above an independent one, by a linear probe", NEAR, FAR, metric=LINEAR),
    study.claim(
      "a student halfway is not below one near the teacher by a point, by a linear probe",
      HALF,
      NEAR,
      metric=LINEAR,
      margin=0.01,
    ),
    study.claim("a student of 60,000 images is above one of 500, by a linear probe", NEAR, FEW, metric=LINEAR),
    study.claim("a student of 500 images is above its teacher, by a linear probe", FEW, FEW, metric=of_teacher(LINEAR)),
    study.claim(
      "a linear probe tells more by a vision transformer than by its teacher", VIT, VIT, metric=of_teacher(LINEAR)
    ),
  ]


def table(rows) -> str:
  """The arms, each beside its teacher, and raw pixels."""
  if not any("metrics" in row for row in rows):
    return "Not measured yet."
  near = [row for row in rows if row["arm"] == NEAR]
  pixels = study.controls_table(near, METRICS, {"raw pixels": "raw pixels/"})
  return f"{study.rows_table(rows, COLUMNS)}\n\n{pixels}"


def main(argv: list[str] | None = None) -> int:
  arguments = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2)).parse_args(argv)
  found = arms()
  return study.execute(
    arguments,
    lambda: dict(
      arms=found,
      measure=study.Pretrained(
        baselines=("raw pixels",),
        beside=(arm_hash(found[NEAR]),),
        also=ALSO,
        modules=(MODULE,),
        places=study.places(arguments),
      ),
      claims=claims(),
      about=dict(config="random_teacher"),
      regime=REGIME.folder,
      table=table,
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
