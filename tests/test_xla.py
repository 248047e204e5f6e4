"""Sums on a CPU are right, and steps repeat bit for bit, with the flags that a user gets: in processes of their own."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from jssl import xla

FLAG = "--xla_cpu_experimental_ynn_fusion_type"
ROOT = pathlib.Path(__file__).parents[1]

SUMS = """
import json

import jax
import jax.numpy as jnp
import numpy as np
import jssl

def wrong_rows(dtype, rows):  # jax-ml/jax#39103
  x = jnp.arange(rows, dtype=dtype)[:, None] * jnp.eye(1, 3, dtype=dtype)
  sums = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.eye(3, dtype=dtype) @ row) ** 2)))(x)
  return int((np.asarray(sums) != np.arange(rows, dtype=dtype) ** 2).sum())

def error(shapes, axis):  # jax-ml/jax#40412 and #39257, where the process ends or never does
  x, y = (np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in shapes)
  return float(np.abs(jax.jit(lambda x, y: (x * y).sum(axis))(x, y) - (x * y).sum(axis, dtype=np.float64)).max())

found = dict(
  float32=wrong_rows(np.float32, 32_769),
  rank_7=error([(3, 1, 2, 2, 8, 8, 8)] * 2, 3),
  rank_8=error([(10, 4, 6, 1, 1, 1, 1, 1), (10, 4, 6, 3, 3, 3, 3, 3)], 2),
)
total = jax.jit(lambda x: jnp.broadcast_to(x, (2, 1024, 1024)).sum())  # tensorflow/tensorflow#126812
found["totals"] = sorted({float(total(jnp.ones((1024, 1)))) for _ in range(50)})
jax.config.update("jax_enable_x64", True)
found["float64"] = wrong_rows(np.float64, 16_385)
print(json.dumps(found))
"""

STEPS = """
import json

import jax
import numpy as np

from jssl.train import Trainer
from tests import methods

trainer = Trainer(methods.small("mae", width=48, depth=1, batch_size=32), methods.source(), devices=jax.devices()[:1])
first = jax.tree.map(np.array, trainer.init_state())
batch = next(iter(trainer.batches(0, 1)))
step, ends = trainer.compile_step(first), []
for _ in range(20):
  ends.append(jax.tree.map(np.asarray, step(trainer.parallel.put_state(first), trainer.arrays, batch)))
same = [jax.tree.all(jax.tree.map(np.array_equal, ends[0], end)) for end in ends[1:]]
print(json.dumps([len(jax.tree.leaves(ends[0])), same]))
"""

WARNINGS = """
import json
import logging

{before}
import jssl
from jssl.parallel import Parallel

said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("jssl").addHandler(handler)
for _ in range(2):
  Parallel("jit", 1)
print(json.dumps(said))
"""


def run(program: str, flags: str = ""):
  """What a program prints last, as JSON, in a process with these XLA_FLAGS and no others of the tests' own."""
  environment = dict(os.environ, JAX_PLATFORMS="cpu", XLA_FLAGS=flags, PYTHONPATH=str(ROOT))
  done = subprocess.run(
    [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=False
  )
  assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
  return json.loads(done.stdout.splitlines()[-1])


def test_sums_are_right():
  found = run(SUMS)
  assert found.pop("rank_7") < 1e-5 and found.pop("rank_8") < 1e-5
  assert found == dict(float32=0, float64=0, totals=[2**21])


@pytest.mark.slow
def test_a_step_repeats_bit_for_bit():
  leaves, same = run(STEPS)
  assert leaves > 100 and same == [True] * 19


def bad_by_itself():
  return xla.safe_flags("", xla._jaxlib()) != ""


def test_safe_flags_need_no_word():
  assert run(WARNINGS.format(before="")) == []


@pytest.mark.skipif(not bad_by_itself(), reason="a jaxlib that needs no flag")
@pytest.mark.parametrize("before, flags", [("import jax; jax.devices()", ""), ("", f"{FLAG}=reduce")])
def test_unsafe_flags_are_told_once(before, flags):
  (line,) = run(WARNINGS.format(before=before), flags)
  assert "jax#39103" in line and "\n" not in line


@pytest.mark.parametrize(
  "flags, jaxlib, safe",
  [
    ("", "0.10.1", ""),
    ("", "0.10.2", f"{FLAG}=-reduce"),
    ("--xla_dump_to=x", "0.10.2.dev20260601", f"--xla_dump_to=x {FLAG}=-reduce"),
    (f"{FLAG}=reduce", "0.10.2", f"{FLAG}=reduce"),
    ("", "0.11.0", f"{FLAG}="),
    ("", "0.12.0.1", f"{FLAG}="),
    ("", "0.13.0", ""),
    ("", "1.0", ""),
  ],
)
def test_flags_of_each_release(flags, jaxlib, safe):
  assert xla.safe_flags(flags, jaxlib) == safe
