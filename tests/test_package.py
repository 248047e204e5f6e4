"""`import jssl` alone: what it gives and what it costs."""

import subprocess
import sys

import pytest

import jssl
from jssl.stateful import Stateful


def test_public_names_are_there_after_import_jssl_alone():
  """In a process of its own: here the tests have imported everything already."""
  code = """
import sys, jssl
assert not {"jax", "numpy", "jssl.losses"} & set(sys.modules), "import jssl should load nothing"
import jax.numpy as jnp
loss, metrics = jssl.losses.info_nce_loss(jnp.eye(4), jnp.eye(4), temperature=1.0)
assert "jssl.losses" in sys.modules and "jssl.train" not in sys.modules
print(float(loss))
for name in jssl.__all__:
  getattr(jssl, name)
assert jssl.Method is jssl.method.Method and jssl.train_and_evaluate is jssl.train.train_and_evaluate
"""
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  # -log softmax of a cosine of 1 among three of 0: log(1 + 3 / e).
  assert float(done.stdout) == pytest.approx(0.743668, abs=1e-5)


def test_all_of_it_is_listed():
  assert set(jssl.__all__) <= set(dir(jssl)) and len(set(jssl.__all__)) == len(jssl.__all__)


def test_a_name_that_is_not_there():
  with pytest.raises(AttributeError, match="module 'jssl' has no attribute 'loses'"):
    jssl.loses  # noqa: B018
  with pytest.raises(ImportError):
    from jssl import loses  # noqa: F401


def test_calling_a_stateful_says_how_it_is_used():
  for value in vars(jssl.losses).values():
    if isinstance(value, Stateful):
      with pytest.raises(TypeError, match=r"f\.init\(\*arrays, \*\*numbers\).*output, state = f\.apply\(state"):
        value(1, 2, temperature=0.1)
      break
  else:
    pytest.fail("no loss keeps a state any more: test another room's")
