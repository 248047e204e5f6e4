"""Trains a small form of a method's imagenet preset in float64, and an independent form of it in torch beside it.

The torch form is given what jssl drew, views and masks, and computes the rest by itself: networks, heads, losses, targets,
optimizer, schedules, averages. After each step all parameters, BatchNorm's statistics and states must agree, to a millionth
of what the step changed in them: a wrong learning rate cannot hide behind large weights.

jssl is written for float32 and says so by name. Here that name stands for float64.
"""

from collections.abc import Callable
import contextlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.config import CHOICES, load_config
from jssl.environment import run_key
from jssl.graph import owner
from jssl.inputs import examples_of
from jssl.models.resnet import DEPTHS
from jssl.nodes import Drawn
from jssl.schedules import is_schedule
from jssl.step import TrainState
from jssl.trainer import Trainer
from tests import methods

torch = pytest.importorskip("torch")
with pytest.MonkeyPatch.context() as _patch:  # of the bench these two alone, for the others' names are anybody's
  _patch.syspath_prepend(str(pathlib.Path(__file__).parents[2] / "experiments/bench"))
  import flops
  import torch_models as models

# Eight steps in two epochs, of which the first two warm up. Five are compared: all parts of a schedule are in them.
BATCH, EPOCH, TOTAL, WARMUP, STEPS = 8, 4, 8, 2, 5
FROZEN = 3  # of what stands still for a number of steps or a share of them; else it is an epoch
BOOST = 32  # of the learning rates: the rule lr x batch / 256 gives so small a batch so little
CLIP = 1e-2  # of the norms at which gradients are clipped: so small a network seldom reaches them
DECAY = 1e3  # of the weight decays of SGD and LARS: what they do in five steps would be lost in the tolerance
TOLERANCE = 1e-6
VIT = dict(width=16, depth=2, num_heads=2, patch_size=4, image_size=16)
# Stochastic depth draws in the network, not in a view.
SMALL = dict(
  vit=dict(variant=None, drop_path=0.0, **VIT),
  mae_decoder=dict(width=8, depth=1, num_heads=2, patch_size=4),
  jepa_predictor=dict(width=8, depth=1, num_heads=2, grid=(4, 4)),
  resnet=dict(width=2),
  dino_head=dict(hidden=24, bottleneck=6),
  shared_trunk_head=dict(hidden=24, bottleneck=6),
)
NARROW = dict(hidden=24, output=12, prototypes=10, batch_norm_group=4, patch_size=4)
MASKS = dict(
  multi_block_mask=dict(targets=2, scale=(0.2, 0.3)), block_mask=dict(min_block=1), stratified_block_mask=dict(min_block=1)
)


@contextlib.contextmanager
def in_float64():
  """Float64 throughout, and ResNets of one block a stage on both sides."""
  with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
    patch.setattr(jnp, "float32", jnp.float64)
    patch.setitem(CHOICES, "dtype", ("float64",))
    for blocks in (DEPTHS, flops.RESNET_BLOCKS):
      patch.setitem(blocks, 50, (1, 1, 1, 1))
    yield


def small_preset(name: str, choices: str = ""):
  """The imagenet preset with small networks and views, and a run of eight steps; rules and schedules are the preset's."""
  config = load_config(f"{name}:imagenet{choices}")
  convolutional = any(network.get("fn") == "resnet" for network in config.networks.values())
  for view_name, view in config.views.items():  # crops alone: colours are no part of what is compared
    size = {224: 16, 96: 8}[view.size] * (2 if convolutional else 1)
    colours = ("jitter", "grayscale", "blur", "solarize")
    config.views[view_name] = {key: value for key, value in view.items() if key not in colours} | dict(size=size)
  for node in (*config.masking.values(), *config.targets.values()):
    node.update(MASKS.get(node.fn, {}) | ({"patch": 4} if "patch" in node else {}))
  for loss in config.losses.values():
    loss.update({"size": 4 * BATCH} if "size" in loss else {})
  with config.networks.ignore_type(), config.networks.unlocked():
    for network in config.networks.values():
      for module in (network, *network.get("heads", {}).values()):
        module.update(SMALL.get(module.get("fn"), {}))
        module.update({key: value for key, value in NARROW.items() if key in module})
  _shorten(config, config.optim)
  length = dict(total_steps=TOTAL) if config.total_steps else dict(total_epochs=TOTAL / EPOCH)
  config.update(dict(batch_size=BATCH, dtype="float64", **length))
  return config


def _shorten(config, optim) -> None:
  """The preset's optimizer, whose rates and durations are those of eight steps."""
  for entry in optim.get("freeze", ()):
    entry[1].update({"until_steps": FROZEN} if "until_steps" in entry[1] else {})
  for _, factor in optim.get("lr_mults", ()):
    if is_schedule(factor) and "boundaries_fraction" in factor:
      factor.update(boundaries_fraction=(FROZEN / TOTAL,))
  with optim.ignore_type():
    if is_schedule(optim.lr):  # it may end after the run
      epochs = (optim.lr.epochs + optim.lr.warmup_epochs) / config.total_epochs * TOTAL / EPOCH
      warmup = WARMUP / EPOCH
      optim.lr = dict(optim.lr.to_dict(), start=BOOST * optim.lr.start, epochs=epochs - warmup, warmup_epochs=warmup)
    else:
      optim.lr *= BOOST
    if optim.name != "adamw":
      optim.weight_decay *= DECAY
    if optim.get("lr_scale"):  # an absolute number, of the preset's batch
      optim.warmup_start_lr = optim.get("warmup_start_lr", 0.0) * BOOST * BATCH / config.batch_size
    for key, duration in dict(warmup_epochs=WARMUP / EPOCH, warmup_fraction=WARMUP / TOTAL, boundaries_epochs=(1,)).items():
      if optim.get(key):
        optim[key] = duration
    for kind in {"per_tensor", "global_norm"} & {*(optim.clip or {})}:
      optim.clip[kind] *= CLIP


class TorchMethod:
  """A method as its authors wrote it.

  Attributes:
    networks: `torch.nn.ModuleDict` by the names that the config has for them.
    rounding: differences up to this are rounding, however little a step changed.
  """

  networks: torch.nn.ModuleDict
  rounding = 1e-12

  def step(self, arrays: dict[str, torch.Tensor], k: int) -> None:
    """One update, the k-th from 0.

    Args:
      arrays: views and masks by name.
      k: updates done so far.
    """
    raise NotImplementedError

  def start(self, memory: dict[str, torch.Tensor]) -> None:
    """Takes over jssl's states, by the names of their entries."""

  def memory(self) -> dict[str, torch.Tensor]:
    """The states as jssl has them."""
    return {}


def compare(name: str, make: Callable[[], TorchMethod], choices: str = "") -> None:
  """Takes five steps of a method's small preset, and of what `make` returns; AssertionError where they differ.

  Args:
    name: of the config.
    make: makes the authors' form; called in float64.
    choices: what follows the preset, such as ",sinkhorn".
  """
  with in_float64():
    method = make()
    for k, (arrays, before, after) in enumerate(jssl_steps(small_preset(name, choices))):
      if k == 0:
        _start(method, before)
      method.step({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, k)
      _check_equal(method, before, after, k)


def _check_equal(method: TorchMethod, before, after, k: int) -> None:
  found = _torch_variables(method)
  assert sorted(found) == sorted(after)
  for name, value in after.items():
    change = np.max(np.abs(value - before[name]))
    own, atol = found[name].reshape(value.shape), TOLERANCE * change + method.rounding
    np.testing.assert_allclose(own, value, rtol=0, atol=atol, err_msg=f"step {k}: {name}")


def jssl_steps(config):
  """Yields, for each step, what was drawn, and all variables before and after, as NumPy arrays by torch's names."""
  trainer = Trainer(config, methods.source(EPOCH * BATCH, size=24, noise=20), devices=jax.devices()[:1])
  method = trainer.single_method
  drawn = lambda name: isinstance(method.nodes.get(owner(name, method.nodes)), Drawn)

  @jax.jit
  def draw(state, arrays, batch):
    batch = examples_of(arrays, batch, method.whole_names)
    found = method.environment(state.variables, batch, key=run_key(config.seed), step=state.step)
    return {name: array for name, array in found.items() if drawn(name)}

  variables = _random(trainer.abstract)
  state = TrainState(jnp.int32(0), variables, trainer.optimizer.init(variables.params))
  state = trainer.parallel.put_state(state)
  step = trainer.compile_step(state)
  for batch in trainer.batches(0, STEPS):
    single = {name: array.reshape(-1, *array.shape[2:]) for name, array in batch.items()}
    arrays, before = jax.device_get(draw(state, trainer.arrays, single)), _by_torch_names(state.variables)
    state, _ = step(state, trainer.arrays, batch)
    yield arrays, before, _by_torch_names(state.variables)


def _random(variables):
  """Values for the shapes of variables: no bias is 0, no teacher its student, no center where it starts."""
  rng = np.random.default_rng(0)

  def leaf(path, x):
    name, value = path[-1].key if hasattr(path[-1], "key") else "", rng.normal(size=x.shape)
    if x.ndim > 1:
      return value / np.sqrt(np.prod(x.shape[:-1]))
    return 0.1 * value + (name in ("scale", "gain", "var") or name.startswith("layer_scale"))

  return jax.tree_util.tree_map_with_path(leaf, variables)


def _by_torch_names(variables) -> dict[str, np.ndarray]:
  variables = jax.device_get(variables)
  found = models.from_jssl(variables.params | variables.teachers)
  found |= {f"{name}.running": value for name, value in models.from_jssl(_some(variables.stats)).items()}
  return {name: value.numpy() for name, value in found.items()} | {f"memory.{k}": v for k, v in variables.memory.items()}


def _some(trees):
  return {name: tree for name, tree in trees.items() if tree}


def _start(method: TorchMethod, variables) -> None:
  method.networks.double()
  with torch.no_grad():
    for name, value in _torch_tensors(method).items():
      value.copy_(torch.from_numpy(np.array(variables[name])).reshape(value.shape))
  method.start({name[7:]: torch.from_numpy(np.array(x)) for name, x in variables.items() if name.startswith("memory.")})


def _torch_variables(method: TorchMethod) -> dict[str, np.ndarray]:
  found = _torch_tensors(method) | {f"memory.{name}": value for name, value in method.memory().items()}
  return {name: value.detach().numpy() for name, value in found.items()}


def _torch_tensors(method: TorchMethod) -> dict[str, torch.Tensor]:
  """Parameters, and statistics under the names that `_by_torch_names` gives them."""
  statistics = {}
  for name, value in method.networks.named_buffers():
    module, _, kind = name.rpartition(".")
    if kind in ("running_mean", "running_var"):
      statistics[f"{module}.{kind.removeprefix('running_')}.running"] = value
  return dict(method.networks.named_parameters()) | statistics
