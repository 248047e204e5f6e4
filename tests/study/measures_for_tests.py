"""Measures of small studies; they load little, for each run is a process."""

import os
import signal
import time

import numpy as np


def score(arm, seed, workdir):
  """A measure; an arm may ask for a crash."""

  if arm == "fails" and not (workdir.parent / "mended").exists():
    raise ValueError("no such\nluck")
  if arm == "dies" and seed == 0:
    os.kill(os.getpid(), signal.SIGKILL)
  if arm == "large":
    np.ones(300 * 2**17)  # 300 MiB
  return dict(score=float(seed + (arm if isinstance(arm, float) else 0)), pid=os.getpid())


def sleeps(arm, seed, workdir):
  """A measure that takes an hour, unless it goes on from where it was stopped."""
  workdir.mkdir(exist_ok=True)
  if not (workdir / "begun").exists():
    (workdir / "begun").write_text(str(os.getpid()))
    time.sleep(3600)
  return dict(score=1.0)
