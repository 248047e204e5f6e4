"""ResNets with torchvision's names, with what stands before and beside them in the files of several codes."""

import jax
import numpy as np
import pytest

from jssl import interop
from jssl.errors import ConfigError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

WIDTH = 4
BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


class Block(nn.Module):
  """torchvision's BasicBlock and Bottleneck in short."""

  def __init__(self, inputs, width, stride, bottleneck):
    super().__init__()
    outputs = width * (4 if bottleneck else 1)
    kernels = ((1, width), (3, width), (1, outputs)) if bottleneck else ((3, width), (3, width))
    for i, (kernel, channels) in enumerate(kernels, start=1):
      step = stride if i == (2 if bottleneck else 1) else 1
      setattr(self, f"conv{i}", nn.Conv2d(inputs if i == 1 else width, channels, kernel, step, kernel // 2, bias=False))
      setattr(self, f"bn{i}", nn.BatchNorm2d(channels))
    self.number = len(kernels)
    if stride != 1 or inputs != outputs:
      self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

  def forward(self, x):
    y = x
    for i in range(1, self.number + 1):
      y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
      y = y if i == self.number else functional.relu(y)
    return functional.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
  def __init__(self, depth):
    super().__init__()
    self.conv1, self.bn1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False), nn.BatchNorm2d(WIDTH)
    inputs, bottleneck = WIDTH, depth >= 50
    for stage, number in enumerate(BLOCKS[depth]):
      width, blocks = WIDTH * 2**stage, []
      for i in range(number):
        blocks.append(Block(inputs, width, 2 if stage and not i else 1, bottleneck))
        inputs = width * (4 if bottleneck else 1)
      setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
      for name, array in self.state_dict().items():
        if array.ndim:
          drawn = torch.randn(array.shape, generator=generator)
          array.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else 0.3 * drawn)
    self.eval()

  def forward(self, x):
    x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
    for stage in range(1, 5):
      x = getattr(self, f"layer{stage}")(x)
    return x.mean(dim=(2, 3))


def prefixed(prefix, state, **more):
  return {prefix + name: array for name, array in (state | more).items()}


FC = {"fc.0.weight": torch.ones(2, 2)}
# What a code's file holds beside the network, and which part that is.
FILES = dict(
  plain=(lambda state: state | {"fc.weight": torch.ones(1, 2), "fc.bias": torch.ones(1)}, None),
  barlow_twins=(
    lambda state: dict(
      epoch=torch.tensor(3),
      model=prefixed("module.backbone.", state)
      | {"module.projector.0.weight": torch.ones(2), "module.bn.running_mean": torch.ones(2)},
    ),
    None,
  ),
  swav=(
    lambda state: (
      prefixed("module.", state)
      | {"module.projection_head.0.weight": torch.ones(2), "module.prototypes.weight": torch.ones(2)}
    ),
    None,
  ),
  simsiam=(
    lambda state: dict(
      epoch=99, state_dict=prefixed("module.encoder.", state | FC) | {"module.predictor.0.weight": torch.ones(2)}
    ),
    None,
  ),
  moco=(lambda state: dict(arch="resnet50", state_dict=prefixed("module.encoder_q.", state | FC)), None),
  moco_whole=(
    lambda state: dict(
      state_dict=prefixed("module.encoder_k.", state | FC)
      | prefixed("module.encoder_q.", {name: 2 * array for name, array in state.items()} | FC)
      | {"module.queue": torch.ones(2, 2), "module.queue_ptr": torch.ones(1)}
    ),
    "teacher",
  ),
)


@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.slow)])
def test_the_same_features(depth):
  """At two sizes, one of them odd and no square."""
  model = ResNet(depth)
  found = interop.load(model.state_dict())
  assert found.source.startswith("torchvision:") and found.network == dict(fn="resnet", depth=depth, width=WIDTH)
  for height, width in ((64, 64), (67, 45)):
    images = np.random.default_rng(1).normal(size=(2, height, width, 3)).astype(np.float32)
    with torch.no_grad():
      wanted = model(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))).numpy()
    features = jax.jit(found.module.apply)(found.variables, images)["features"]
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(features / scale, wanted / scale, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("file", FILES)
def test_files_of_several_codes(file):
  state = ResNet(18).state_dict()
  wrap, part = FILES[file]
  found = interop.load(wrap(state), part=part)
  jax.tree.map(np.testing.assert_array_equal, found.variables, interop.load(state, "torchvision").variables)
  if part:
    with pytest.raises(ConfigError, match="which network is meant is not said; known: student, teacher"):
      interop.load(wrap(state))


def changed(**arrays):
  state = ResNet(18).state_dict() | {name.replace("__", "."): array for name, array in arrays.items()}
  return {name: array for name, array in state.items() if array is not None}


@pytest.mark.parametrize(
  "arrays, message",
  [
    (dict(conv1__weight=torch.ones(4, 3, 3, 3)), r"conv1 is of \[3, 3\], not of 7x7"),
    (dict(conv1__weight=None), "there is no conv1.weight"),
    (dict(bn1__running_var=None), "only in the network: batch_stats/backbone/bn1/var"),
    (dict(layer2__0__conv1__weight=torch.ones(3, 4, 3, 3)), r"layer2_0/conv1/kernel: \(3, 3, 4, 3\) float32"),
    (dict(layer1__0__conv3__weight=torch.ones(1)), r"a ResNet of \(2, 2, 2, 2\) blocks is none of those of 18, 34"),
    (dict(layer1__0__se__weight=torch.ones(1)), "no place is known for layer1.0.se.weight"),
    (dict(tail__weight=torch.ones(1)), "no place is known for tail.weight"),
  ],
)
def test_what_is_refused_of_torchvision(arrays, message):
  with pytest.raises(ConfigError, match=message):
    interop.load(changed(**arrays), "torchvision")
