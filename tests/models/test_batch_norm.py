"""BatchNorm over groups of examples: like torch on each group by itself, whatever the devices."""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np
import pytest

from jssl.models import mlp_head, parts, resnet
from jssl.models.batch_norm import GroupedBatchNorm

VIEWS, BATCH, DIM = 2, 16, 3
X = 4 + np.random.default_rng(0).normal(size=(VIEWS, BATCH, 2, DIM)).astype(np.float32)
TARGET = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
SCALE, BIAS = np.array([1.0, 2.0, 0.5], np.float32), np.array([0.0, -1.0, 0.5], np.float32)
VARIABLES = dict(params=dict(scale=SCALE, bias=BIAS), batch_stats=dict(mean=np.zeros(DIM), var=np.ones(DIM)))


def joined(x):
  """Views one after the other, as joined passes put them."""
  return x.reshape(-1, *x.shape[2:])


def loss(x, target, group, axis_name=None):
  module = GroupedBatchNorm(group, BATCH, True, axis_name)
  out, changed = module.apply(VARIABLES, joined(x), mutable=["batch_stats"])
  return jnp.mean((out - joined(target)) ** 2), (out.reshape(x.shape), changed["batch_stats"])


def by_torch(group):
  """Output, gradient and the mean of the groups' statistics, from torch's BatchNorm on each group."""
  torch = pytest.importorskip("torch")
  x = torch.tensor(X, requires_grad=True)
  out, means, variances = torch.empty_like(x), [], []
  for start in range(0, BATCH, group):
    rows = x[:, start : start + group].reshape(-1, DIM)
    norm = torch.nn.functional.batch_norm(rows, None, None, torch.tensor(SCALE), torch.tensor(BIAS), training=True)
    out[:, start : start + group] = norm.reshape(VIEWS, group, 2, DIM)
    means.append(rows.mean(0))
    variances.append(rows.var(0, correction=0))
  ((out - torch.tensor(TARGET)) ** 2).mean().backward()
  statistics = [torch.stack(s).mean(0).detach().numpy() for s in (means, variances)]
  return out.detach().numpy(), x.grad.numpy(), statistics


def check(group, out, gradient, statistics):
  want_out, want_gradient, (mean, var) = by_torch(group)
  np.testing.assert_allclose(out, want_out, atol=2e-5)
  np.testing.assert_allclose(gradient, want_gradient, atol=1e-6)
  np.testing.assert_allclose(statistics["mean"], 0.1 * mean, rtol=1e-5)
  np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * var, rtol=1e-5)


@pytest.mark.parametrize("group", [2, 8, 16])
def test_one_device_is_torch_on_each_group(group):
  (_, (out, statistics)), gradient = jax.value_and_grad(loss, has_aux=True)(X, TARGET, group)
  check(group, out, gradient, statistics)


@pytest.mark.parametrize("group", [2, 4, 8, 16])
def test_four_devices_are_one(group):
  """Groups that are a half of a device's examples, all of them, those of two devices and of all."""

  def one_device(x, target):
    (_, (out, statistics)), gradient = jax.value_and_grad(loss, has_aux=True)(x, target, group, "batch")
    return out, gradient / 4, statistics

  split = lambda x: x.reshape(VIEWS, 4, -1, 2, DIM).swapaxes(0, 1)
  out, gradient, statistics = jax.pmap(one_device, axis_name="batch", devices=jax.devices()[:4])(split(X), split(TARGET))
  together = lambda x: np.asarray(x).swapaxes(0, 1).reshape(X.shape)
  for device in range(4):
    check(group, together(out), together(gradient), {name: value[device] for name, value in statistics.items()})


def test_one_program_on_four_devices_is_one():
  sharding = NamedSharding(Mesh(np.array(jax.devices()[:4]), ("batch",)), PartitionSpec(None, "batch"))
  arrays = [jax.device_put(x, sharding) for x in (X, TARGET)]
  run = jax.jit(lambda x, target: jax.value_and_grad(loss, has_aux=True)(x, target, 8))
  (_, (out, statistics)), gradient = run(*arrays)
  check(8, out, gradient, statistics)


def test_all_of_the_batch_is_the_usual_batch_norm():
  x = joined(X)
  usual = parts.batch_norm(train=True, axis_name=None)
  grouped = parts.batch_norm(train=True, axis_name=None, group=BATCH, batch_size=BATCH)
  for got, want in zip(*(m.apply(VARIABLES, x, mutable=["batch_stats"]) for m in (grouped, usual)), strict=True):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, want)
  shapes = [jax.eval_shape(m.init, jax.random.key(0), x) for m in (grouped, usual)]
  assert shapes[0] == shapes[1]
  # In evaluation there are no groups, and any number of rows will do.
  evaluate = lambda **numbers: parts.batch_norm(train=False, axis_name=None, **numbers).apply(VARIABLES, x[:3])
  np.testing.assert_allclose(evaluate(group=4, batch_size=BATCH), evaluate(), rtol=1e-5)


def test_what_does_not_divide_is_told():
  for build in (mlp_head, resnet):
    with pytest.raises(ValueError, match="batch_norm_group=6 does not divide config.batch_size=16"):
      build(batch_norm_group=6, batch_size=16)
  run = lambda group, rows, batch: GroupedBatchNorm(group, batch, True, "batch").apply(
    VARIABLES, jnp.ones((rows, DIM)), mutable=["batch_stats"]
  )
  devices = lambda *numbers: jax.vmap(lambda _: run(*numbers), axis_name="batch")(jnp.zeros(4))
  with pytest.raises(ValueError, match="batch_norm_group=6 is neither a divisor nor a multiple of the 4 examples"):
    devices(6, 4, 16)
  with pytest.raises(ValueError, match="5 rows are no multiple of the 4 examples of a device"):
    devices(2, 5, 16)
