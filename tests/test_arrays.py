"""Unit vectors and patches: one of each in the tree."""

import ast
import doctest
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jssl
from jssl import arrays


@pytest.mark.parametrize("axis", [0, -1])
def test_l2_normalize(axis):
  x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
  want = x / np.linalg.norm(x.astype(np.float64), axis=axis, keepdims=True)
  np.testing.assert_allclose(arrays.l2_normalize(jnp.asarray(x), axis=axis), want, rtol=1e-6)
  np.testing.assert_allclose(arrays.l2_normalize(jnp.asarray(x) * 1e-9, axis=axis, eps=1e-24), want, rtol=1e-5)
  assert arrays.l2_normalize(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize("eps", [1e-12, 1e-16, 1e-24])
def test_the_gradient_of_l2_normalize(eps):
  """(I - u u^T) / ||x|| off zero; at zero the identity over sqrt(eps), which is finite."""
  x = np.array([3.0, -4.0, 12.0])
  u = x / 13
  got = jax.jacobian(lambda x: arrays.l2_normalize(x, eps=eps))(jnp.asarray(x, jnp.float32))
  np.testing.assert_allclose(got, (np.eye(3) - np.outer(u, u)) / 13, atol=1e-7)
  at_zero = jax.jacobian(lambda x: arrays.l2_normalize(x, eps=eps))(jnp.zeros(3))
  np.testing.assert_allclose(at_zero, np.eye(3) / np.sqrt(eps), rtol=1e-5)
  assert not arrays.l2_normalize(jnp.zeros((2, 3)), eps=eps).any()


def test_float64_stays():
  with jax.enable_x64(True):
    x = jnp.array([1.0, 2.0], jnp.float64)
    np.testing.assert_allclose(arrays.l2_normalize(x, eps=0.0), np.array([1, 2]) / np.sqrt(5), rtol=1e-15)


def test_patchify_order_is_that_of_mae():
  """`nhpwqc -> nhwpqc`: the einsum of MAE's own code, in NHWC."""
  images = np.arange(2 * 4 * 6 * 3, dtype=np.float32).reshape(2, 4, 6, 3)
  wanted = np.einsum("nhpwqc->nhwpqc", images.reshape(2, 2, 2, 3, 2, 3)).reshape(2, 6, 12)
  np.testing.assert_array_equal(arrays.patchify(jnp.asarray(images), patch=2), wanted)
  np.testing.assert_array_equal(arrays.unpatchify(wanted, grid=(2, 3), patch=2), images)


def test_examples():
  assert doctest.testmod(arrays).failed == 0


def test_there_is_one_of_each():
  """A second definition would drift: each has its own constant under the root before long."""
  found = {}
  for path in pathlib.Path(jssl.__file__).parent.rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.FunctionDef):
        found.setdefault(node.name.strip("_"), []).append(path.name)
  for name in ("l2_normalize", "patchify", "unpatchify", "patch_grid", "precise"):
    assert found[name] == ["arrays.py"], name
  assert not {"unit", "normalize_rows", "unit_vectors"} & set(found)
