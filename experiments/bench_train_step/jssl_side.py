"""The step of the benchmark in jssl, through `Method` and `make_train_step`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jssl import optim
from jssl.configs import simmim
from jssl.method import Method
from jssl.parallel import Parallel
from jssl.schedules import Horizon
from jssl.train import TrainState, make_train_step, run_key


def prepared_view(rng, image):
  """The image itself: it comes normalised, so that both sides are timed without augmentation."""
  del rng
  return image


def get_config(*, batch_size: int, lr: float, weight_decay: float):
  """SimMIM of the `cifar10` preset (ViT-Ti at 32 px, patches of 4) in float32, with a constant learning rate."""
  config = simmim.get_config("cifar10")
  config.update(dict(batch_size=batch_size, dtype="float32"))
  config.views = dict(v=dict(fn=prepared_view, reads=("image",)))
  config.networks.encoder.drop_path = 0.0
  config.optim = optim.default_optim_config() | dict(lr=lr, lr_schedule="constant", weight_decay=weight_decay)
  return config


class Jssl(NamedTuple):
  """What is needed to step: `state, metrics = step(state, {}, batch)`, `batch` holding `image` and `index`."""

  method: Method
  state: TrainState
  step: jax.stages.Compiled
  batch: dict[str, jax.Array]


def build(images: np.ndarray, *, lr: float, weight_decay: float) -> Jssl:
  """Initialises and compiles for `images [batch, 32, 32, 3]` float32."""
  batch_size = len(images)
  config = get_config(batch_size=batch_size, lr=lr, weight_decay=weight_decay)
  horizon = Horizon(1000, batch_size=batch_size)
  method = Method(config, num_examples=batch_size, horizon=horizon)
  parallel = Parallel("jit", batch_size, devices=jax.devices()[:1])
  batch = parallel.put_batch(dict(image=images, index=np.arange(batch_size, dtype=np.int32)))
  variables = method.init(run_key(0), batch)
  optimizer, _ = optim.make_optimizer(config.optim, variables.params, **horizon._asdict())
  state = TrainState(jnp.int32(0), variables, optimizer.init(variables.params), jnp.int32(0))
  state = parallel.put_state(state)
  step = parallel.compile(make_train_step(method, optimizer, parallel, seed=0), donate=True)
  return Jssl(method, state, step.lower(state, {}, batch).compile(), batch)
