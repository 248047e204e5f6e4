"""The train steps in jssl: its own configs with the numbers of a case, through `Method` and `make_train_step`."""

from typing import Any, NamedTuple

import flops
import jax
import jax.numpy as jnp
import numpy as np
import turns

from jssl import config as configs
from jssl import optim as optimizers
from jssl import processes
from jssl.environment import run_key
from jssl.method import Method
from jssl.parallel import Parallel
from jssl.schedules import Horizon
from jssl.step import make_train_step, TrainState

# For ResNets on a CPU: XLA's scheduler that saves memory, and its own convolutions in place of YNNPACK's.
RESNET_OPTIONS = dict(xla_cpu_scheduler_type="CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED", xla_cpu_experimental_ynn_fusion_type="")
STEPS, EPOCH = 1000, 100  # of a run, in which the configs' schedules are measured


def get_config(*, config: str, batch_size: int, views, networks, dtype: str, optim, masking=None, losses=None):
  """A config of jssl's with the numbers of a case, see `steps.CASES`; its views are still those that augment."""
  result = configs.load_config(config)
  if set(views) != set(result.views):
    raise ValueError(f"{config} has the views {', '.join(result.views)}, the case {', '.join(views)}")
  result.update(dict(batch_size=batch_size, dtype=dtype, networks=networks, masking=masking or {}, losses=losses or {}))
  for name, size in views.items():
    result.views[name].size = size
  vits = [net for net in result.networks.values() if "image_size" in net]
  # On a CPU a loop over blocks that are recomputed takes some two thirds of the memory and a tenth more time.
  loop = dict(scan=True, remat=True) if jax.default_backend() == "cpu" else {}
  for net in vits:
    net.update(dict(drop_path=0.0, attention="cudnn" if _flash(dtype) else "xla", **loop))
    for target in result.targets.values():
      if "patch" in target:
        target.patch = net.patch_size
  if "decoder" in result.networks:
    result.networks.decoder.update(dict(attention=vits[0].attention, **loop))
  if jax.default_backend() == "cpu" and not vits:
    result.parallel.compiler_options = RESNET_OPTIONS
  result.optim = optimizers.default_optim_config() | dict(optim, lr_schedule="constant")
  return result


def _flash(dtype: str) -> bool:
  return dtype != "float32" and jax.default_backend() == "gpu"


class Step(NamedTuple):
  """A case's step before it is compiled: `step(state, {}, batch)`; `init(key)` makes its state, on any device."""

  method: Method
  parallel: Parallel
  step: Any
  init: Any


def make_step(*, batch_size: int, views, **numbers) -> Step:
  """The step of a case. Its views are taken out: the batch brings them, so that no side is timed with augmentation."""
  config = get_config(batch_size=batch_size, views=views, **numbers)
  config.views = {}
  horizon = Horizon(STEPS, EPOCH, batch_size)
  method = Method(config, num_examples=EPOCH * batch_size, horizon=horizon)
  parallel = Parallel("jit", batch_size, compiler_options=config.parallel.compiler_options, devices=jax.devices()[:1])
  batch = batch_spec(batch_size=batch_size, views=views)
  params = jax.eval_shape(method.init, run_key(0), batch).params
  optimizer, _ = optimizers.make_optimizer(config.optim, params, **horizon._asdict())

  def init(key):
    variables = method.init(key, batch)
    return TrainState(jnp.int32(0), variables, optimizer.init(variables.params), jnp.int32(0))

  return Step(method, parallel, make_train_step(method, optimizer, parallel, seed=0), init)


def batch_spec(*, batch_size: int, views) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of the batch: the views `[batch, size, size, 3]` float32 and each example's `index`."""
  spec = {v: jax.ShapeDtypeStruct((batch_size, size, size, 3), jnp.float32) for v, size in views.items()}
  return spec | dict(index=jax.ShapeDtypeStruct((batch_size,), jnp.int32))


class Compiled(NamedTuple):
  """What is needed to step: `state, metrics = step(state, {}, batch)`."""

  state: TrainState
  step: jax.stages.Compiled
  batch: dict[str, jax.Array]


def build(images: dict[str, np.ndarray], **numbers) -> Compiled:
  """Initialises and compiles the step of a case for `images`, name of a view -> `[batch, size, size, 3]`."""
  made = make_step(**numbers)
  count = len(next(iter(images.values())))
  batch = made.parallel.put_batch(images | dict(index=np.arange(count, dtype=np.int32)))
  state = made.parallel.put_state(made.init(run_key(0)))
  step = made.parallel.compile(made.step, donate=True)
  compiled = step.lower(state, {}, batch).compile()
  processes.trim_memory()  # as the training loop does
  return Compiled(state, compiled, batch)


def make_work(images: dict[str, np.ndarray], *, repeat: int, **numbers) -> turns.Work:
  """The step of a case, as `steps.SIDES` returns it."""
  state, step, batch = build(images, **numbers)

  def call():
    nonlocal state
    for _ in range(repeat):
      state, metrics = step(state, {}, batch)
    jax.block_until_ready(state)
    return float(metrics["loss"])

  count = numbers["batch_size"]
  work = flops.step_flops(
    numbers["config"].partition(":")[0], batch_size=count, views=numbers["views"], networks=numbers["networks"]
  )
  return turns.Work(call, repeat * count, repeat * work, turns.jax_product(numbers["dtype"]))
