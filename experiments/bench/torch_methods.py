"""The train steps in PyTorch: what each method computes, and how it is stepped, eager or compiled.

The student sees crops of one size in one forward, the teacher runs under no_grad. Numbers that jssl schedules have here
the value of the first step.
"""

import contextlib
import copy
import os

import flops
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
import torch_models as models
import turns

STUDENT_TEMP, TEACHER_TEMP, CENTER_MOMENTUM, EMA_DECAY = 0.1, 0.04, 0.9, 0.996


def _vit(net, **options):
  return models.ViT(**{key: net[key] for key in ("image_size", "patch_size", "width", "depth", "num_heads")}, **options)


class Method(nn.Module):
  """What is hidden, the loss, and what follows an update.

  `forward(images, drawn)` returns the loss, and means by the name of the center that they move. Centers are moved outside
  of it: compiled, its backward pass computes the teacher's probabilities again, and would do so from the new center.
  """

  prepared = False  # whether a data loader draws what is hidden, so that it is not timed

  def draw(self, images):
    """What is hidden in a step, under the names that it has in jssl's config."""
    del images
    return {}

  def start_teacher(self) -> None:
    """Copies the student, if there is a teacher."""

  def finish(self, means) -> None:
    """After the update."""


class MAE(Method):
  """A quarter of the patches is encoded; the loss is on the others' standardised pixels."""

  def __init__(self, networks):
    super().__init__()
    net, decoder = networks["encoder"], networks["decoder"]
    self.patch, self.side = net["patch_size"], net["image_size"] // net["patch_size"]
    self.encoder = models.Network(_vit(net, position="sincos2d"))
    self.decoder = models.Network(models.MAEDecoder(inputs=net["width"], side=self.side, **decoder))

  def draw(self, images):
    noise = torch.rand(len(images["v"]), self.side**2, device=images["v"].device)
    order = noise.argsort(dim=1)
    restore, kept = order.argsort(dim=1), int(self.side**2 * 0.25)
    return {"m/ids_keep": order[:, :kept], "m/ids_restore": restore, "m/mask": restore >= kept}

  def forward(self, images, drawn):
    tokens = self.encoder.backbone(images["v"], ids_keep=drawn["m/ids_keep"])
    pixels = self.decoder.backbone(tokens, drawn["m/ids_restore"])
    target = models.patchify(images["v"], self.patch)
    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    error = (pixels.float() - target).square().mean(-1)
    return (error * drawn["m/mask"]).sum() / drawn["m/mask"].sum(), {}


class SimMIM(Method):
  """Hidden patches are a mask token; a linear head, and the mean absolute error on their pixels."""

  CELL, RATIO = 2, 0.6

  def __init__(self, networks):
    super().__init__()
    net = networks["encoder"]
    self.patch, self.side = net["patch_size"], net["image_size"] // net["patch_size"]
    self.encoder = models.Network(
      _vit(net, mask_token=True), pixels=models.ReconstructionHead(net["width"], patch_size=self.patch)
    )

  def draw(self, images):
    batch, cells = len(images["v"]), self.side // self.CELL
    hidden = -int(-self.RATIO * cells**2 // 1)
    order = torch.rand(batch, cells**2, device=images["v"].device).argsort(dim=1)
    mask = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :hidden], True).view(batch, cells, cells)
    return {"m/mask": mask.repeat_interleave(self.CELL, 1).repeat_interleave(self.CELL, 2).reshape(batch, -1)}

  def forward(self, images, drawn):
    mask, target = drawn["m/mask"], models.patchify(images["v"], self.patch)
    pixels = self.encoder.heads["pixels"](self.encoder.backbone(images["v"], mask=mask)[:, 1:])
    error = (pixels.float() - target).abs() * mask[:, :, None]
    return error.sum() / (mask.sum() * target.shape[-1]), {}


class Distillation(Method):
  """What DINO, iBOT and MMC share: a teacher, centers, and two large views."""

  VIEWS = ("a", "b")

  def start_teacher(self) -> None:
    self.teacher = copy.deepcopy(self.student).requires_grad_(False)

  @torch.no_grad()
  def finish(self, means) -> None:
    torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), 1 - EMA_DECAY)
    for name, mean in means.items():
      getattr(self, name).lerp_(mean, 1 - CENTER_MOMENTUM)

  def targets(self, logits, center):
    """The teacher's probabilities, and the mean that moves the center. `logits [..., prototypes]`."""
    logits = logits.float()
    return F.softmax((logits - center) / TEACHER_TEMP, dim=-1), logits.flatten(0, -2).mean(dim=0)


def _cross_entropy(probs, logits):
  """`[..., prototypes]` to `[...]`."""
  return -(probs * F.log_softmax(logits.float() / STUDENT_TEMP, dim=-1)).sum(-1)


def _dino_loss(logits, probs):
  """`logits [views, batch, K]`, `probs [2, batch, K]`: all pairs of a view and a teacher's view that differ."""
  log_probs = F.log_softmax(logits.float() / STUDENT_TEMP, dim=-1)
  total = (log_probs[0] * probs[1] + log_probs[1] * probs[0] + log_probs[2:].sum(0) * probs.sum(0)).sum()
  return -total / (logits.shape[1] * (2 * len(logits) - 2))


class DINO(Distillation):
  """Two large views and small ones against the teacher's of the large ones."""

  def __init__(self, networks):
    super().__init__()
    net = networks["student"]
    head = net["heads"]["logits"]
    self.student = models.Network(_vit(net), logits=models.DINOHead(net["width"], **head))
    self.register_buffer("center", torch.zeros(head["prototypes"]))
    self.start_teacher()

  def forward(self, images, drawn):
    del drawn
    large = torch.cat([images[v] for v in self.VIEWS])
    small = [image for v, image in images.items() if v not in self.VIEWS]
    with torch.no_grad():
      logits = self.teacher.heads["logits"](self.teacher.backbone(large)[:, 0])
      probs, mean = self.targets(logits.view(2, -1, logits.shape[-1]), self.center)
    features = [self.student.backbone(x)[:, 0] for x in [large] + ([torch.cat(small)] if small else [])]
    logits = self.student.heads["logits"](torch.cat(features))
    return _dino_loss(logits.view(len(images), -1, logits.shape[-1]), probs), dict(center=mean)


class IBOT(Distillation):
  """DINO on the class tokens, and the same on hidden patches. As in the authors' code all patches go through the head."""

  prepared = True

  def __init__(self, networks):
    super().__init__()
    net = networks["student"]
    head = net["heads"]["head"]
    self.patches = (net["image_size"] // net["patch_size"]) ** 2
    self.student = models.Network(
      _vit(net, mask_token=True), head=models.SharedTrunkHead(net["width"], share_prototypes=True, **head)
    )
    self.register_buffer("center", torch.zeros(head["prototypes"]))
    self.register_buffer("patch_center", torch.zeros(head["prototypes"]))
    self.start_teacher()

  def draw(self, images):
    """Half of the images lose U(0.1, 0.5) of their patches. The authors' loaders draw this, and it is not timed."""

    def mask(image):
      share = torch.empty(len(image), 1).uniform_(0.1, 0.5) * (torch.rand(len(image), 1) < 0.5)
      return (torch.rand(len(image), self.patches) < share).to(image.device)

    return {f"m_{v}/mask": mask(images[v]) for v in self.VIEWS}

  def forward(self, images, drawn):
    large = torch.cat([images[v] for v in self.VIEWS])
    mask = torch.cat([drawn[f"m_{v}/mask"] for v in self.VIEWS])
    with torch.no_grad():
      _, logits = self.teacher.heads["head"](self.teacher.backbone(large))
      probs, mean = self.targets(logits[:, 0], self.center)
      patch_probs, patch_mean = self.targets(logits[:, 1:], self.patch_center)
    _, logits = self.student.heads["head"](self.student.backbone(large, mask=mask))
    views = lambda x: x.view(2, -1, x.shape[-1])
    patch = (_cross_entropy(patch_probs, logits[:, 1:]) * mask).sum(1) / mask.sum(1).clamp(min=1)
    loss = _dino_loss(views(logits[:, 0]), views(probs)) + patch.mean()
    return loss, dict(center=mean, patch_center=patch_mean)


class MMC(Distillation):
  """Corrupted views: their pixels, the teacher's distribution of every patch, and contrast with the other view."""

  prepared = True

  def __init__(self, networks):
    super().__init__()
    net = networks["student"]
    heads = net["heads"]
    self.patch = net["patch_size"]
    self.student = models.Network(
      _vit(net),
      trunk=models.SharedTrunkHead(net["width"], **heads["trunk"]),
      pixels=models.ReconstructionHead(net["width"], layers=3, **heads["pixels"]),
    )
    self.register_buffer("center", torch.zeros(heads["trunk"]["prototypes"]))
    self.start_teacher()

  def draw(self, images):
    """Squares of zeros on half of the pixels. The authors' loaders corrupt images, and it is not timed."""
    drawn = {}
    for v in self.VIEWS:
      batch, height, width, _ = images[v].shape
      mask = torch.rand(batch, height // self.patch, width // self.patch) < 0.5
      mask = mask.repeat_interleave(self.patch, 1).repeat_interleave(self.patch, 2).to(images[v].device)
      drawn |= {f"hidden_{v}/image": images[v] * ~mask[..., None], f"hidden_{v}/mask": mask}
    return drawn

  def forward(self, images, drawn):
    clean = torch.cat([images[v] for v in self.VIEWS])
    hidden, mask = (torch.cat([drawn[f"hidden_{v}/{what}"] for v in self.VIEWS]) for what in ("image", "mask"))
    with torch.no_grad():
      keys, logits = self.teacher.heads["trunk"](self.teacher.backbone(clean))
      probs, mean = self.targets(logits, self.center)
    tokens = self.student.backbone(hidden)
    queries, logits = self.student.heads["trunk"](tokens)
    where = models.patchify(mask[..., None], self.patch).repeat_interleave(3, dim=-1)
    error = (self.student.heads["pixels"](tokens[:, 1:]).float() - models.patchify(clean, self.patch)).abs()
    reconstruction = (error * where).sum() / where.sum()
    (query_a, query_b), (key_a, key_b) = (F.normalize(x.float(), dim=-1).chunk(2) for x in (queries[:, 0], keys[:, 0]))
    own = torch.arange(len(key_a), device=key_a.device)
    contrast = sum(F.cross_entropy(q @ k.T / 0.2, own) for q, k in ((query_a, key_b), (query_b, key_a)))
    return reconstruction + _cross_entropy(probs, logits).mean() + 0.4 * contrast, dict(center=mean)


class BarlowTwins(Method):
  """The cross-correlation of two views' embeddings, each of a forward of its own, is pushed to the identity."""

  def __init__(self, networks, *, lambd, scale):
    super().__init__()
    net = networks["student"]
    z = net["heads"]["z"]
    backbone, self.lambd, self.scale = models.ResNet(depth=net["depth"], stem=net["stem"]), lambd, scale
    widths = [backbone.width, z["hidden"], z["hidden"], z["output"]]
    self.student = models.Network(
      backbone, z=models.MLP(widths, activation=F.relu, batch_norm=True, bias=False, last_bias=False)
    )

  def forward(self, images, drawn):
    del drawn
    a, b = (self.student.heads["z"](self.student.backbone(images[v])).float() for v in ("a", "b"))
    a, b = (F.batch_norm(z, None, None, training=True, eps=1e-5) for z in (a, b))
    correlation = (a.T @ b).float() / len(a)
    diagonal = correlation.diagonal()
    others = correlation.square().sum() - diagonal.square().sum()
    return self.scale * ((1 - diagonal).square().sum() + self.lambd * others), {}


class SimCLR(Method):
  """Each view finds the other view of its image among all views of the batch; one forward for both."""

  def __init__(self, networks, *, temperature):
    super().__init__()
    net = networks["student"]
    z = net["heads"]["z"]
    backbone, self.temperature = models.ResNet(depth=net["depth"], stem=net["stem"]), temperature
    self.student = models.Network(backbone, z=models.MLP([backbone.width, z["hidden"], z["output"]], activation=F.relu))

  def forward(self, images, drawn):
    del drawn
    x = self.student.backbone(torch.cat([images["a"], images["b"]]))
    z = F.normalize(self.student.heads["z"](x).float(), dim=-1)
    logits = (z @ z.T).float() / self.temperature
    logits = logits.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(z), device=z.device).roll(len(z) // 2)), {}


METHODS = dict(mae=MAE, simmim=SimMIM, dino=DINO, ibot=IBOT, mmc=MMC, barlow_twins=BarlowTwins, simclr=SimCLR)


def make_optimizer(model: nn.Module, *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
  """Fused AdamW; biases and parameters of one dimension are not decayed, as in `jssl.optim`."""
  parameters = [p for p in model.parameters() if p.requires_grad]
  groups = [
    dict(params=[p for p in parameters if p.ndim > 1], weight_decay=weight_decay),
    dict(params=[p for p in parameters if p.ndim == 1], weight_decay=0.0),
  ]
  return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), fused=True)


def make_method(config: str, networks, losses) -> Method:
  """The method of a case, see `steps.CASES`."""
  numbers = next(iter((losses or {}).values()), {})
  return METHODS[config.partition(":")[0]](networks, **numbers)


def make_work(
  images: dict[str, np.ndarray], *, config: str, views, networks, dtype: str, optim, repeat: int, compiled: bool, losses=None
) -> turns.Work:
  """The step of a case, as `steps.SIDES` returns it."""
  device = "cuda" if torch.cuda.is_available() else "cpu"
  if dtype != "float32" and device == "cpu":
    raise ImportError("this torch finds no GPU")
  torch.manual_seed(0)
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.backends.cudnn.benchmark = True
  model = make_method(config, networks, losses).to(device)
  optimizer = make_optimizer(model, **optim)
  forward = torch.compile(model) if compiled else model
  images = {v: torch.from_numpy(image).to(device) for v, image in images.items()}
  prepared = model.draw(images) if model.prepared else None
  cast = torch.autocast(device, getattr(torch, dtype)) if dtype != "float32" else contextlib.nullcontext()

  def step():
    with cast:
      loss, means = forward(images, model.draw(images) if prepared is None else prepared)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    model.finish(means)
    return loss

  def call():
    for _ in range(repeat):
      loss = step()
    return loss.item()

  count = len(next(iter(images.values())))
  work = flops.step_flops(config.partition(":")[0], batch_size=count, views=views, networks=networks)
  return turns.Work(call, repeat * count, repeat * work, turns.torch_product(dtype, device))
