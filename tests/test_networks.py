"""Where networks start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.config import default_config
from jssl.errors import ConfigError
from jssl.method import Method
from jssl.schedules import Horizon

KEY = jax.random.key(0, impl="threefry2x32")
HEAD = dict(fn="linear_head", output=64)


def loss(*outputs):
  return sum(jnp.mean(x) for x in outputs), {}


def start(**entries):
  """The parameters, trained and not, of networks that all read the image."""
  config = default_config()
  config.update(
    dict(
      networks=entries,
      passes={f"p_{name}": dict(net=name, reads=("image",)) for name in entries},
      losses=dict(l=dict(fn=loss, reads=tuple(f"p_{name}/features" for name in entries))),
    )
  )
  method = Method(config, num_examples=4, horizon=Horizon(10))
  variables = method.init(KEY, dict(image=jax.ShapeDtypeStruct((2, 3, 3, 32), np.uint8)))
  return {**variables.params, **variables.teachers}


def kernel(params):
  return np.asarray(params["backbone"]["dense_0"]["kernel"], np.float64)


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 0.5, 1.0])
def test_a_network_may_start_near_another(alpha):
  params = start(
    teacher=dict(HEAD, frozen=True), student=dict(HEAD, near=("teacher", alpha)), slow=dict(ema="student", decay=0.9)
  )
  alone = start(teacher=dict(HEAD, frozen=True), student=HEAD)
  teacher, drawn, student = kernel(params["teacher"]), kernel(alone["student"]), kernel(params["student"])
  np.testing.assert_array_equal(teacher, kernel(alone["teacher"]))
  wanted = ((1 - alpha) * teacher + alpha * drawn) / np.sqrt((1 - alpha) ** 2 + alpha**2)
  np.testing.assert_allclose(student, wanted, rtol=1e-5, atol=1e-8)
  assert np.std(student) == pytest.approx(np.std(teacher), rel=0.08)
  np.testing.assert_array_equal(kernel(params["slow"]), student)


@pytest.mark.parametrize(
  "near,message",
  [
    (("techer", 0.5), "'techer' is not a network with a random start of its own; did you mean 'teacher'"),
    (("student", 0.5), "'student' is not a network with a random start"),
    (("slow", 0.5), "'slow' is not a network with a random start"),
    (("teacher", 1.5), r"alpha must be in \[0, 1\], not 1.5"),
    (("narrow", 0.5), "'narrow' has parameters of other names or shapes"),
  ],
)
def test_what_it_cannot_start_near_is_named(near, message):
  with pytest.raises(ConfigError, match=rf"config\.networks\.student\.near: .*{message}"):
    start(teacher=HEAD, narrow=dict(HEAD, output=3), student=dict(HEAD, near=near), slow=dict(ema="student", decay=0.9))
