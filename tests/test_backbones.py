"""Any method on any backbone that can serve it, by another entry in `config.networks`; one clear error where not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl.errors import ConfigError
from jssl.train import Trainer, TrainState
from tests import methods

# Images of 16 px become maps of 4 x 4; the ResNet's, of 2 x 2.
BACKBONES = dict(
  resnet=dict(fn="resnet", depth=18, width=2, stem="cifar"),
  convnext=dict(fn="convnext", width=4, depths=(1, 1, 1), stem="cifar", drop_path=0.1),
  swin=dict(fn="swin", width=8, depths=(1, 2), num_heads=(1, 2), patch_size=2, window=2, drop_path=0.1),
)


def trainer(method, backbone, *, size=16, make=methods.small, **numbers):
  """A method with another encoder under the same heads. To build it is to trace a forward pass."""
  config = make(method, size=size)
  network = "encoder" if "encoder" in config.networks else "student"
  heads = config.networks[network].get("heads", {})
  config.networks[network] = dict(BACKBONES[backbone], **numbers, heads=heads)
  return Trainer(config, methods.source(), devices=jax.devices()[:1])


@pytest.mark.slow
@pytest.mark.parametrize(
  "method, backbone, numbers",
  [("barlow_twins", "resnet", {}), ("dino", "convnext", {}), ("simmim", "swin", dict(mask_token=True))],
)
def test_a_step(method, backbone, numbers):
  """Every parameter of the backbone has a gradient (of keys' biases, to which softmax is blind, rounding is left)."""
  run = trainer(method, backbone, make=methods.small_with_sgd, **numbers)
  rng = np.random.default_rng(0)
  variables = jax.tree.map(lambda x: jnp.asarray(0.1 * np.abs(rng.normal(size=x.shape)), x.dtype), run.abstract)
  state = TrainState(jnp.int32(0), variables, run.optimizer.init(variables.params), jnp.int32(0))
  index = np.arange(16)
  batch = {name: jnp.asarray(array[index]) for name, array in run.arrays.items()} | dict(index=jnp.asarray(index))
  state, metrics = run.lower_single().compile()(state, {}, batch)
  assert np.isfinite(metrics["loss"]) and metrics["gradient_norm"] > 0
  gradients = optax.tree.get(state.opt_state, "trace")  # after one step, the momentum is the gradient
  moving = {
    jax.tree_util.keystr(path, simple=True, separator="/"): bool(np.any(x))
    for path, x in jax.tree_util.tree_leaves_with_path(gradients)
  }
  moving = {name: moves for name, moves in moving.items() if "/backbone/" in name and not name.endswith("key/bias")}
  assert moving and all(moving.values()), [name for name, moves in moving.items() if not moves]


@pytest.mark.slow
@pytest.mark.parametrize(
  "method, backbone, numbers",
  [
    ("barlow_twins", "convnext", {}),
    ("barlow_twins", "swin", {}),
    ("dino", "resnet", {}),
    ("dino", "swin", {}),
    ("simmim", "convnext", dict(mask_token=True)),
    ("ibot", "swin", dict(mask_token=True)),
    ("mc_ssl", "convnext", {}),
    ("lejepa", "resnet", {}),
  ],
)
def test_a_forward_pass(method, backbone, numbers):
  run = trainer(method, backbone, **numbers)
  arrays = run.single_method.abstract_environment(run.spec).arrays
  node = next(node for node in run.single_method.nodes.values() if node.stage == "passes")
  grid = run.single_method.networks[node.net].module.grid((16, 16, 3))
  assert arrays[f"{node.name}/patch_tokens"].shape[1] == grid[0] * grid[1]
  assert arrays[f"{node.name}/mean"].shape == arrays[f"{node.name}/features"].shape


@pytest.mark.parametrize(
  "method, backbone, message",
  [
    ("mae", "resnet", r"config.passes.e: a ResNet works on whole grids and cannot drop patches \(ids_keep\)"),
    ("mae", "convnext", r"config.passes.e: a ConvNeXt works on whole grids and cannot drop patches \(ids_keep\)"),
    ("mae", "swin", r"config.passes.e: a Swin works on whole grids and cannot drop patches \(ids_keep\)"),
    ("simmim", "resnet", "config.passes.e: a ResNet has no mask token"),
    ("simmim", "swin", "config.passes.e: a mask needs a network with mask_token=True"),
  ],
)
def test_what_a_backbone_cannot_serve(method, backbone, message):
  with pytest.raises(ConfigError, match=f"^{message}"):
    trainer(method, backbone, size=32)
