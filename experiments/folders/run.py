"""Folders: does pretraining on a few thousand pictures in a folder, without a label, show in numbers that need none?

    apt-get download openclipart-png && dpkg -x openclipart-png*.deb drawings
    python -m experiments.folders.run --at folder=drawings/usr/share/openclipart/png

SimCLR and MAE see the drawings of four fifths of the authors. RankMe and the search for the originals of edited drawings see
no label either; then the names of the folders, which no run has seen, say by kNN whether those numbers told the truth.
"""

import os
import pathlib
import re
import sys

import numpy as np

from experiments.regime import derived, Regime
from jssl import study
from jssl.configs import common
from jssl.data.algebra.derive import changed, LABEL, rows
from jssl.data.source import in_memory, Source

MODULE = "experiments.folders.run"
KNN, COPIES = "knn/k20", "copy_detection/map"
RANK = {"SimCLR": "rankme/embeddings_rankme", "MAE": "rankme/rankme"}  # MAE has no projector
COLUMNS = {"RankMe of features": "rankme/rankme", "copies": COPIES, "kNN": KNN}
METHODS = {"SimCLR": "simclr", "MAE": "mae"}


def own_files(source: Source) -> Source:
  """The pictures of a folder without those that are links to others, each with the number of its `author`.

  That is the last word of the file's name, before its number: with it series stay together.
  """
  kept = [i for i in range(len(source)) if not os.path.islink(source.encoded.name_of(i))]
  found = rows(source, f"{source.name}.own_files()", np.array(kept, np.int64))
  stems = [re.sub(r"[_\d.]+$", "", pathlib.Path(source.encoded.name_of(i)).stem) for i in kept]
  author = np.unique([stem.rpartition("_")[2].lower() for stem in stems], return_inverse=True)[1].astype(np.int32)
  return changed(found, found.name, lambda numbers, read: dict(author=author[numbers]), needs=(), writes=dict(author=LABEL))


def categories(source: Source) -> Source:
  """The number of the uppermost folder of each picture as its label."""
  names = [source.encoded.name_of(i) for i in range(len(source))]
  root = pathlib.Path(os.path.commonpath(names))
  folders = sorted(path.name for path in root.iterdir() if path.is_dir())
  label = np.array([folders.index(pathlib.Path(name).relative_to(root).parts[0]) for name in names], np.int32)
  number = lambda numbers, read: dict(label=label[numbers])
  return changed(source, f"{source.name}.categories()", number, needs=(), writes=dict(label=LABEL), num_classes=len(folders))


def decoded(source: Source) -> Source:
  """The pictures in memory, without those that cannot be read."""
  arrays = source.get(np.arange(len(source)))
  kept = np.array([source.encoded.name_of(i) not in source.unreadable for i in range(len(source))])
  arrays = {name: array[kept] for name, array in arrays.items()}
  return in_memory(f"{source.name}.decoded()", arrays, num_classes=source.num_classes)


def part(which: str, *more: str) -> dict:
  """The drawings of a fifth of the authors, "held", or the "rest", as a config names them."""
  folder = dict(name="folder", split="train", options=dict(labels=False, canvas=48))
  steps = [dict(fn=f"{MODULE}:{name}") for name in (*more, "decoded")]
  return derived(folder, dict(fn=f"{MODULE}:own_files"), dict(fn="hold_out", part=which, share=0.2, group="author"), *steps)


REGIME = Regime(
  name="drawings",
  data=part("rest"),
  train=part("rest", "categories"),
  test=part("held", "categories"),
  classes=22,
  net=common.BACKBONES["demo"] | dict(stem=(24, 48, 96)),
  view=dict(size=32, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), jitter_prob=0.8, grayscale=0.2, mean=0.8, std=0.3),
  size=40,
  steps=1500,
  protocols=("rankme", "copy_detection", "knn:k=20"),
  metrics=COLUMNS,
)


def arms() -> dict:
  """The methods' demos on the drawings."""
  return {arm: REGIME.method(name) for arm, name in METHODS.items()}


def claims() -> list[study.Claim]:
  """What sees no label, and then what the folders' names say."""
  found = []
  for arm, rank in RANK.items():
    beside = lambda sentence, metric, control, at_least, arm=arm: study.claim(
      sentence, arm, arm, metric=(metric, f"{control}/{metric}"), at_least=at_least
    )
    of = "embeddings" if "embeddings" in rank else "features"
    found += [
      beside(f"RankMe of {arm}'s {of} is above that of random weights", rank, "random weights", 0.0),
      beside(
        f"by {arm}'s features edited drawings find their originals better than by random weights",
        COPIES,
        "random weights",
        0.0,
      ),
      beside(
        f"the folders' names, which no run has seen: kNN by {arm}'s features is two points above that of random weights",
        KNN,
        "random weights",
        0.02,
      ),
      beside(f"kNN by {arm}'s features is above that of raw pixels", KNN, "raw pixels", 0.0),
    ]
  return found


def table(rows_) -> str:
  """The methods, and the controls beside each of them, whose networks and views differ."""
  if not rows_:
    return "Not measured yet."
  controls = {control: f"{control}/" for control in REGIME.controls}
  parts = [study.rows_table(rows_, COLUMNS)]
  for arm in METHODS:
    parts.append(f"Beside {arm}:\n\n{study.controls_table([row for row in rows_ if row['arm'] == arm], COLUMNS, controls)}")
  return "\n\n".join(parts)


def main(argv: list[str] | None = None) -> int:
  arguments = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2)).parse_args(argv)
  return study.execute(
    arguments,
    lambda: dict(
      arms=arms(),
      measure=study.Pretrained(baselines=REGIME.controls, modules=(MODULE,), places=study.places(arguments)),
      claims=claims(),
      about=dict(config=METHODS),
      table=table,
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
