"""What every loss is held to, against a reference in NumPy float64 differentiated by the complex step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

AXIS = "batch"


def complex_step(reference, arrays, moving):
  """Value and gradients of `reference(*arrays)`, which must be analytic: no abs, conj or comparison but of `.real`.

  The imaginary part of f(x + ih) / h is f'(x) without any cancellation (Squire and Trapp 1998).
  """
  arrays = [np.asarray(a, np.float64) if i in moving else a for i, a in enumerate(arrays)]
  gradients = []
  for i in moving:
    gradient = np.zeros_like(arrays[i])
    for at in np.ndindex(arrays[i].shape):
      moved = list(arrays)
      moved[i] = arrays[i].astype(np.complex128)
      moved[i][at] += 1e-30j
      gradient[at] = np.imag(reference(*moved)) / 1e-30
    gradients.append(gradient)
  return float(np.real(reference(*arrays))), gradients


@functools.partial(jax.jit, static_argnums=(0, 2))
def value_and_grad(loss, arrays, moving):
  """`(value, metrics), gradients` of one call on one device."""
  return jax.value_and_grad(loss, argnums=moving, has_aux=True)(*arrays)


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def sharded(loss, arrays, moving, shards):
  """The same with the batch split over a mapped axis: means over shards, gradients in the place of their examples."""
  split = [a.reshape(shards, -1, *a.shape[1:]) for a in arrays]
  run = lambda *local: value_and_grad(lambda *x: loss(*x, axis_name=AXIS), local, moving)
  (values, metrics), gradients = jax.vmap(run, axis_name=AXIS)(*split)
  mean = lambda tree: jax.tree.map(lambda x: x.mean(0), tree)
  # A shared parameter's gradient is averaged over shards, which each example's then is divided by.
  return (mean(values), mean(metrics)), [g.reshape(arrays[i].shape) / shards for i, g in zip(moving, gradients, strict=True)]


def close(got, want, tolerance):
  scale = max(np.max(np.abs(want)), 1e-12)
  np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=0, atol=tolerance * scale)


def cast(arrays, moving, dtype):
  """The arrays that move in `dtype`; other numbers are at least float32, integers as they are."""
  other = jnp.promote_types(dtype, jnp.float32)
  kind = lambda i, a: dtype if i in moving else other if np.issubdtype(np.asarray(a).dtype, np.floating) else None
  return [jnp.asarray(a, kind(i, a)) for i, a in enumerate(arrays)]


def finite(loss, arrays, moving=None):
  """Value and gradients hold no infinity and no NaN."""
  moving = tuple(range(len(arrays)) if moving is None else moving)
  assert_finite(value_and_grad(lambda *x: loss(*x, axis_name=None), arrays, moving))


def assert_finite(tree):
  for leaf in jax.tree.leaves(tree):
    assert np.all(np.isfinite(np.asarray(leaf, np.float64)))


def check_loss(loss, reference, arrays, moving=None, shards=4):
  """Value, gradient, precision, jit and shards of `loss(*arrays, axis_name) -> (value, metrics)`."""
  moving = tuple(range(len(arrays)) if moving is None else moving)
  local = lambda *x: loss(*x, axis_name=None)
  want, want_gradients = complex_step(reference, arrays, moving)

  with jax.enable_x64(True):
    (value, metrics), gradients = value_and_grad(local, cast(arrays, moving, jnp.float64), moving)
    assert value.dtype == jnp.float64
    # x64 alone changes nothing: float32 arrays still give a float32 loss.
    assert jax.eval_shape(local, *cast(arrays, moving, jnp.float32))[0].dtype == jnp.float32
    close(value, want, 1e-9)
    for got, gradient in zip(gradients, want_gradients, strict=True):
      close(got, gradient, 1e-9)

  single = cast(arrays, moving, jnp.float32)
  (value, metrics), gradients = value_and_grad(local, single, moving)
  assert value.dtype == jnp.float32 and value.shape == ()
  assert all(jnp.shape(m) == () for m in metrics.values())
  close(value, want, 1e-5)
  for got, gradient in zip(gradients, want_gradients, strict=True):
    close(got, gradient, 1e-5)
  close(local(*single)[0], value, 1e-6)

  (split_value, split_metrics), split_gradients = sharded(loss, single, moving, shards)
  close(split_value, want, 1e-5)
  for got, gradient in zip(split_gradients, want_gradients, strict=True):
    close(got, gradient, 1e-5)
  for name in metrics:
    np.testing.assert_allclose(split_metrics[name], metrics[name], rtol=1e-5, atol=1e-6, err_msg=name)

  half = cast(arrays, moving, jnp.bfloat16)
  result = value_and_grad(local, half, moving)
  assert result[0][0].dtype == jnp.float32
  np.testing.assert_allclose(result[0][0], want, rtol=0.1, atol=0.05)
  assert_finite(result)


def uncoupled(loss):
  """A loss that couples no examples takes no `axis_name`."""
  return lambda *arrays, axis_name: loss(*arrays)


def normals(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [rng.normal(size=shape) for shape in shapes]


def log_softmax(x):
  x = x - x.real.max(-1, keepdims=True)
  return x - np.log(np.exp(x).sum(-1, keepdims=True))


def unit(x):
  return x / np.sqrt((x * x).sum(-1, keepdims=True))


def absolute(x):
  return np.where(x.real < 0, -x, x)
