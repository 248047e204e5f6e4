"""Small forms of the claim studies' arms, what tells two arms apart, and data for them."""

import pathlib

import jax
import numpy as np

from jssl import config as configs
from jssl import study
from jssl.method import Method
from jssl.schedules import Horizon
from tests import idx_files


def changed(one, other) -> set[str]:
  """The keys in which two configs differ."""
  one, other = configs.flatten(one), configs.flatten(other)
  return {key for key in one.keys() | other.keys() if one.get(key, "none") != other.get(key, "none")}


def arrays_of(config, *image: int) -> dict[str, jax.ShapeDtypeStruct]:
  """All arrays of a step of a config, which is checked, on four images of this shape."""
  configs.check_config(config)
  method = Method(config, num_examples=256, horizon=Horizon(10, 2, config.batch_size))
  batch = dict(image=((4, *image), np.uint8), index=((4,), np.int32), extent=((4, 2), np.float32))
  return method.abstract_environment({key: jax.ShapeDtypeStruct(*batch[key]) for key in method.batch_names}).arrays


def write_fashion(folder: pathlib.Path) -> pathlib.Path:
  """Files in the form of Fashion-MNIST's, of 200 and 40 bright and dark images."""
  rng = np.random.default_rng(0)
  for name, count in (("train", 200), ("t10k", 40)):
    labels = np.arange(count) % 10
    idx_files.write_fashion(folder, name, rng.integers(0, 64, (count, 28, 28)) + 19 * labels[:, None, None], labels)
  return folder


def tiny(config):
  """Two steps of a narrow network, on what `write_fashion` has."""
  config = config.copy_and_resolve_references()
  config.update(dict(total_steps=2, batch_size=16, log_every_steps=1, checkpoint_every_steps=2))
  student = config.networks.student
  student.update(dict(width=24, depth=1, num_heads=2))
  if student.get("readout"):
    student.readout = (1,)
  return with_fewer_images(config)


def with_fewer_images(config):
  """The same config on what `write_fashion` has."""
  for entry, count in ((config.data, 200), (config.evaluation.train, 200), (config.evaluation.test, 40)):
    entry.update(_with_fewer(entry.to_dict(), count))
  return config


def _with_fewer(entry: dict, count: int) -> dict:
  """Data of so many images, or what is derived from them."""
  options = entry["options"]
  if entry["name"] == "derived":
    return dict(entry, options=dict(options, of=_with_fewer(options["of"], count)))
  return dict(entry, options=dict(options, num_examples=count))


def claims_what_is_registered(module) -> None:
  """A study claims what its folder has, each claim in a sentence of its own, and of all its arms and no others."""
  claims = module.claims()
  assert claims == [entry.claim for entry in study.Ledger(pathlib.Path(module.__file__).parent).claims()]
  assert {arm for claim in claims for arm in (claim.better, claim.worse)} == set(module.arms())
  assert len({claim.sentence for claim in claims}) == len(claims)


def shows_its_claims(module, rows, table: str, arm: str) -> None:
  """The rows have a finite number for both sides of each claim, and the arm's line of the table lacks no number.

  Args:
    module: of the study.
    rows: an arm may be missing, for which the first one stands.
    table: of the rows.
    arm: one of the rows' arms.
  """
  metrics = {row["arm"]: row["metrics"] for row in rows}
  for claim in module.claims():
    for side, metric in zip((claim.better, claim.worse), claim.metric, strict=True):
      assert np.isfinite(metrics.get(side, rows[0]["metrics"])[metric]), metric
  assert f"| {arm} | 1 |" in table and "| raw pixels | " in table
  line = next(line for line in table.splitlines() if line.startswith(f"| {arm} |"))
  assert " - |" not in line.rpartition("|")[0].rpartition("|")[0]  # of all columns but the last, which is memory
