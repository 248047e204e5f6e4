"""What the authors' training codes share, in torch: schedules, optimizers, averages, BatchNorm over the global batch.

Three deviations of jssl are followed here, which `jssl.optim` and `jssl.models.parts.batch_norm` name: schedules are read at
every step, the warm-up reaching its peak at step `WARMUP`; a global norm is cut without torch's 1e-6; and a running variance
is the biased one.
"""

from collections.abc import Iterable
import functools
import math

import torch
from torch import nn

from tests.parity.both_sides import BATCH, BOOST, TOTAL, WARMUP


def cosine(start: float, end: float, step: int, total: float = TOTAL) -> float:
  """From `start` at step 0 to `end` at step `total`."""
  return end + 0.5 * (start - end) * (1 + math.cos(math.pi * step / total))


def learning_rate(
  step: int,
  base: float,
  *,
  end: float = 0.0,
  warmup: int = WARMUP,
  start: float = 0.0,
  scale: float = 256,
  total: float = TOTAL,
):
  """The base for `scale` images, warmed up, then along half a cosine that ends at step `total`."""
  peak = BOOST * base * BATCH / scale
  if step < warmup:
    return start + (peak - start) * step / warmup
  return cosine(peak, end, step - warmup, total - warmup)


def set_numbers(optimizer: torch.optim.Optimizer, lr: float, weight_decay: float | None = None) -> None:
  """The learning rate of all groups, the decay of the first one."""
  for group in optimizer.param_groups:
    group["lr"] = lr
  if weight_decay is not None:
    optimizer.param_groups[0]["weight_decay"] = weight_decay


def decayed_and_not(parameters: Iterable[tuple[str, nn.Parameter]], *, decayed=lambda name: False) -> list[dict]:
  """Groups for an optimizer: what has two axes or more, or is named, is decayed; biases and norms are not."""
  named = [(name, p) for name, p in parameters if p.requires_grad]
  rule = lambda name, p: p.ndim > 1 or decayed(name)
  return [
    dict(params=[p for n, p in named if rule(n, p)]),
    dict(params=[p for n, p in named if not rule(n, p)], weight_decay=0.0),
  ]


class LARS(torch.optim.Optimizer):
  """Weights are decayed and adapted, what has one axis is not.

  Args:
    params: parameters or groups.
    lr: learning rate.
    weight_decay: of weights.
    classic: the learning rate enters the momentum, as in SimCLR's code; in the others' it scales what comes out.
  """

  def __init__(self, params, *, lr: float = 0.0, weight_decay: float, classic: bool = False):
    super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=0.9, eta=1e-3))
    self.classic = classic

  @torch.no_grad()
  def step(self):
    for group in self.param_groups:
      for p in group["params"]:
        update = p.grad
        if p.ndim > 1:
          update = update + group["weight_decay"] * p
          w, g = p.norm(), update.norm()
          update = update * (group["eta"] * w / g if w > 0 and g > 0 else 1.0)
        state = self.state[p]
        before = state.get("momentum", torch.zeros_like(p))
        state["momentum"] = group["momentum"] * before + (group["lr"] * update if self.classic else update)
        p -= state["momentum"] if self.classic else group["lr"] * state["momentum"]


@torch.no_grad()
def larc(optimizer: torch.optim.SGD, *, trust: float, weight_decay: float) -> None:
  """NVIDIA apex's LARC around an SGD without decay: adapts the gradients of all parameters that have one."""
  for group in optimizer.param_groups:
    for p in group["params"]:
      if p.grad is None or p.norm() == 0 or p.grad.norm() == 0:
        continue
      rate = trust * p.norm() / (p.grad.norm() + p.norm() * weight_decay + 1e-8)
      p.grad = rate * (p.grad + weight_decay * p)


def clip_together(parameters: Iterable[nn.Parameter], most: float) -> None:
  """Cuts the norm of all their gradients together."""
  grads = [p.grad for p in parameters if p.grad is not None]
  norm = torch.cat([g.flatten() for g in grads]).norm().item()
  for g in grads:
    g *= min(1.0, most / norm)


@torch.no_grad()
def sinkhorn(q: torch.Tensor) -> torch.Tensor:
  """`distributed_sinkhorn` of SwAV, MSN and DINOv2: `q [prototypes, batch]` to assignments `[batch, prototypes]`."""
  q = q / q.sum()
  for _ in range(3):
    q = q / q.sum(1, keepdim=True) / len(q)
    q = q / q.sum(0, keepdim=True) / q.shape[1]
  return (q / q.sum(0, keepdim=True)).T


@torch.no_grad()
def average(teacher: nn.Module, student: nn.Module, decay: float) -> None:
  """Moves each parameter of the teacher towards the student's."""
  for k, q in zip(teacher.parameters(), student.parameters(), strict=True):
    k.mul_(decay).add_(q, alpha=1 - decay)


def frozen(module: nn.Module) -> nn.Module:
  return module.requires_grad_(False)


def synchronised(networks: nn.ModuleDict, *, group: int | None = None) -> nn.ModuleDict:
  """BatchNorms whose running variance is biased, and whose statistics are those of `group` examples.

  With a group, the running statistics are the mean over all groups.
  """
  for module in networks.modules():
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
      module.forward = functools.partial(_batch_norm, module, group)
  return networks


def _batch_norm(module: nn.Module, group: int | None, x: torch.Tensor) -> torch.Tensor:
  """`x [views * BATCH, channels, ...]`, or without a group any number of rows."""
  shape, channels = x.shape, x.shape[1]
  x = x.reshape(-1, BATCH // group, group, *shape[1:]) if group else x[None, None]
  axes = [0, 2, *range(4, x.ndim)]
  mean, var = x.mean(axes, keepdim=True), x.var(axes, unbiased=False, keepdim=True)
  with torch.no_grad():
    for running, now in ((module.running_mean, mean), (module.running_var, var)):
      running.mul_(0.9).add_(now.reshape(-1, channels).mean(0), alpha=0.1)
  x = ((x - mean) / (var + 1e-5).sqrt()).reshape(shape)
  if not module.affine:
    return x
  per_channel = (1, channels, *[1] * (len(shape) - 2))
  return x * module.weight.reshape(per_channel) + module.bias.reshape(per_channel)
