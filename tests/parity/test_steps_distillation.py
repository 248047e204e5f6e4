"""Five optimizer steps of DINO, iBOT, DINOv2 and MSN beside their authors' codes in form."""

import math

import pytest

from tests.parity.both_sides import BATCH, CLIP, compare, EPOCH, FROZEN, models, torch, TorchMethod, TOTAL, VIT
from tests.parity.torch_training import (
  average,
  clip_together,
  cosine,
  decayed_and_not,
  frozen,
  learning_rate,
  set_numbers,
  sinkhorn,
  synchronised,
)

nn, F = torch.nn, torch.nn.functional
LARGE = ("a", "b")
HEAD = dict(hidden=24, bottleneck=6, prototypes=10)


def views(arrays, count):
  """The large views, and the small ones, each joined."""
  return torch.cat([arrays[v] for v in LARGE]), torch.cat([arrays[f"l{i + 1}"] for i in range(count)])


class Distillation(TorchMethod):
  """What facebookresearch/dino, main_dino.py, and bytedance/ibot, main_ibot.py, share of a step."""

  def __init__(self, make, *, decayed=lambda name: False):
    self.networks = nn.ModuleDict(dict(student=make(), teacher=frozen(make())))
    self.optimizer = torch.optim.AdamW(decayed_and_not(self.networks["student"].named_parameters(), decayed=decayed))

  def update(self, loss, k):
    student = self.networks["student"]
    set_numbers(self.optimizer, learning_rate(k, 5e-4, end=1e-6), cosine(0.04, 0.4, k))
    self.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    clip_each(student)
    if k < EPOCH:  # freeze_last_layer = 1 epoch
      for name, p in student.named_parameters():
        if "prototypes" in name:
          p.grad = None
    self.optimizer.step()
    average(self.networks["teacher"], student, cosine(0.996, 1.0, k))


def clip_each(network):
  """Each parameter by itself; there the position of the class token is a row of the table of positions."""
  tensors = {}
  for name, p in network.named_parameters():
    tensors.setdefault(name.replace("cls_position", "pos_embedding"), []).append(p)
  for parts in tensors.values():
    norm = torch.cat([p.grad.flatten() for p in parts]).norm()
    for p in parts:
      p.grad *= min(1.0, CLIP * 3.0 / (norm.item() + 1e-6))


def soft_cross_entropy(probs, logits):
  return (-probs * F.log_softmax(logits / 0.1, dim=-1)).sum(-1)


def moved(center, logits):
  return 0.9 * center + 0.1 * logits.flatten(0, -2).mean(0)


class DINO(Distillation):
  """facebookresearch/dino, main_dino.py, vision_transformer.py and utils.py."""

  def __init__(self):
    super().__init__(
      lambda: models.Network(models.ViT(**VIT, cls_position=True), logits=models.DINOHead(VIT["width"], **HEAD))
    )

  def start(self, memory):
    self.center = memory["y"]

  def memory(self):
    return dict(y=self.center)

  def step(self, arrays, k):
    large, small = views(arrays, 8)
    logits = lambda net, images: net.heads["logits"](net.backbone(images)[:, 0])
    student, teacher = self.networks["student"], self.networks["teacher"]
    with torch.no_grad():
      target = logits(teacher, large)
      probs = F.softmax((target - self.center) / 0.04, dim=-1).chunk(2)
      self.center = moved(self.center, target)
    predicted = torch.cat([logits(student, large), logits(student, small)]).chunk(10)
    terms = [soft_cross_entropy(q, p).mean() for i, q in enumerate(probs) for j, p in enumerate(predicted) if i != j]
    self.update(sum(terms) / len(terms), k)


class IBOT(Distillation):
  """bytedance/ibot, main_ibot.py, models/{vision_transformer,head}.py and utils.py; the temperature moves at every step."""

  def __init__(self):
    head = lambda: models.SharedTrunkHead(VIT["width"], **HEAD, norm_last_layer=False, share_prototypes=True)
    backbone = lambda: models.ViT(**VIT, cls_position=True, mask_token=True)
    # weight_g, the norms of the prototypes, is an array [prototypes, 1] there.
    super().__init__(lambda: models.Network(backbone(), head=head()), decayed=lambda name: name.endswith("gain"))

  def start(self, memory):
    self.center, self.patch_center = memory["y"], memory["y_patch"]

  def memory(self):
    return dict(y=self.center, y_patch=self.patch_center)

  def step(self, arrays, k):
    large, small = views(arrays, 10)
    mask = torch.cat([arrays[f"m_{v}/mask"] for v in LARGE])
    student, teacher = self.networks["student"], self.networks["teacher"]
    temp = 0.04 + (0.07 - 0.04) * k / (WARMUP_TEMP * EPOCH)
    with torch.no_grad():
      _, logits = teacher.heads["head"](teacher.backbone(large))
      target, patch_target = logits[:, 0], logits[:, 1:]
      probs = F.softmax((target - self.center) / temp, dim=-1).chunk(2)
      patch_probs = F.softmax((patch_target - self.patch_center) / temp, dim=-1)
      self.center, self.patch_center = moved(self.center, target), moved(self.patch_center, patch_target)
    _, logits = student.heads["head"](student.backbone(large, mask=mask))
    _, small_logits = student.heads["head"](student.backbone(small))
    predicted = torch.cat([logits[:, 0], small_logits[:, 0]]).chunk(12)
    terms = [soft_cross_entropy(q, p).mean() for i, q in enumerate(probs) for j, p in enumerate(predicted) if i != j]
    patches = (soft_cross_entropy(patch_probs, logits[:, 1:]) * mask).sum(1) / mask.sum(1).clamp(min=1.0)
    patches = patches.reshape(2, BATCH).mean(1)
    self.update(sum(terms) / len(terms) + patches.sum() / 2, k)


WARMUP_TEMP = 30  # epochs


class DINOv2(TorchMethod):
  """facebookresearch/dinov2, dinov2/train/{train,ssl_meta_arch}.py, dinov2/loss and dinov2/utils/param_groups.py.

  The deviations that the config names are followed: neighbours are searched in the whole batch.

  Attributes:
    heads: their names, of the class token and of the patches; the same for a shared one.
    balanced: by Sinkhorn-Knopp, in place of centers.
  """

  def __init__(self, *, heads=("head", "head"), balanced=False):
    self.heads, self.balanced = heads, balanced
    self.networks = nn.ModuleDict(dict(student=self.network(), teacher=frozen(self.network())))
    named = list(self.networks["student"].named_parameters())
    self.optimizer = torch.optim.AdamW([dict(params=[p], **self.group(name)) for name, p in named])

  def network(self):
    kinds = {"head": lambda: models.SharedTrunkHead(VIT["width"], **HEAD, norm_last_layer=False, share_prototypes=True)}
    own = lambda: models.DINOHead(VIT["width"], **HEAD, norm_last_layer=False)
    backbone = models.ViT(**VIT, cls_position=True, mask_token=True, layer_scale=1e-5)
    return models.Network(backbone, **{name: kinds.get(name, own)() for name in self.heads})

  def group(self, name):
    layers = VIT["depth"] + 1
    block = name.removeprefix("backbone.blocks.")
    layer = int(block.split(".")[0]) + 1 if block != name else layers
    if name.removeprefix("backbone.") in ("cls", "cls_position", "pos_embedding", "mask_token"):
      layer = 0
    factor = 0.9 ** (layers - layer)
    if "embedding." in name:
      factor = 0.2 * 0.9**layers
    decayed = not (name.endswith(".bias") or "norm" in name or "layer_scale" in name)
    return dict(factor=factor, decayed=decayed, last_layer="prototypes" in name)

  def start(self, memory):
    self.centers = [memory[name] for name in ("y", "y_patch") if name in memory]

  def memory(self):
    return {} if self.balanced else dict(zip(("y", "y_patch"), self.centers, strict=True))

  def logits(self, net, which, tokens):
    head = net.heads[self.heads[which]]
    return head(tokens) if isinstance(head, models.DINOHead) else head(tokens)[1]

  def assign(self, which, logits, temp):
    if self.balanced:
      return sinkhorn((logits / temp).exp().T)
    probs = F.softmax((logits - self.centers[which]) / temp, dim=-1)
    self.centers[which] = moved(self.centers[which], logits)
    return probs

  def step(self, arrays, k):
    large, small = views(arrays, 8)
    mask = torch.cat([arrays[f"m/{i}"] for i in range(2)])
    student, teacher = self.networks["student"], self.networks["teacher"]
    temp = 0.04 + (0.07 - 0.04) * min(k / round(0.3 * TOTAL), 1.0)
    with torch.no_grad():
      tokens = teacher.backbone(large)
      a, b = self.assign(0, self.logits(teacher, 0, tokens[:, 0]), temp).chunk(2)
      patch_probs = self.assign(1, self.logits(teacher, 1, tokens[:, 1:][mask]), temp)
    tokens = student.backbone(large, mask=mask)
    large_logits = self.logits(student, 0, tokens[:, 0])
    small_logits = self.logits(student, 0, student.backbone(small)[:, 0])
    loss = 2 * soft_cross_entropy(torch.cat([b, a]), large_logits).mean()
    loss = loss + sum(soft_cross_entropy(probs, x).mean() for x in small_logits.chunk(8) for probs in (a, b))
    weights = (1 / mask.double().sum(1, keepdim=True).clamp(min=1.0)).expand_as(mask)[mask]
    patches = soft_cross_entropy(patch_probs, self.logits(student, 1, tokens[:, 1:][mask])) * weights
    spread = sum(koleo(x) for x in tokens[:, 0].chunk(2))
    self.update(loss / (2 + 16) + patches.sum() / len(mask) + 0.1 * spread, k)

  def update(self, loss, k):
    student = self.networks["student"]
    lr = learning_rate(k, 4e-3 * (BATCH / 1024) ** 0.5, end=1e-6, scale=BATCH)
    for group in self.optimizer.param_groups:
      group["lr"] = group["factor"] * (0.0 if group["last_layer"] and k < FROZEN else lr)
      group["weight_decay"] = cosine(0.04, 0.4, k) * group["decayed"]
    self.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for module in (student.backbone, *student.heads.values()):
      clip_together(module.parameters(), CLIP * 3.0)
    self.optimizer.step()
    average(self.networks["teacher"], student, cosine(0.992, 1.0, k))


def koleo(x):
  """dinov2/loss/koleo_loss.py."""
  x = F.normalize(x, eps=1e-8, dim=-1)
  nearest = (x @ x.T).detach().fill_diagonal_(-1).argmax(1)
  return -(F.pairwise_distance(x, x[nearest], eps=1e-8) + 1e-8).log().mean()


class MSN(TorchMethod):
  """facebookresearch/msn, src/{msn_train,losses,utils,deit}.py.

  There a step reads the schedules of learning rate and decay one step ahead, and drops the same patches of all images.
  """

  FOCAL, PROTOTYPES = 10, 10
  RUN = 1.25 * TOTAL  # to the end of its schedules
  # A bias before a BatchNorm has no gradient but what rounding leaves of it, and Adam divides that by 1e-8.
  rounding = 1e-10

  def __init__(self):
    head = lambda: models.MLP([VIT["width"], 24, 24, 12], activation=F.gelu, batch_norm=True)
    make = lambda: models.Network(models.ViT(**VIT, cls_position=True, position_offset=0.0), z=head())
    prototypes = models.Network(nn.ModuleDict(dict(prototypes=models.Prototypes(12, self.PROTOTYPES, False))))
    self.networks = synchronised(nn.ModuleDict(dict(student=make(), teacher=frozen(make()), prototypes=prototypes)))
    groups = decayed_and_not(self.networks["student"].named_parameters())
    groups[1]["params"] += list(prototypes.parameters())
    self.optimizer = torch.optim.AdamW(groups)

  def classify(self, net, images, **kept):
    z = F.normalize(net.heads["z"](net.backbone(images, **kept)[:, 0]))
    return F.softmax(self.networks["prototypes"].backbone["prototypes"](z) / 0.1, dim=1)

  def step(self, arrays, k):
    student, teacher = self.networks["student"], self.networks["teacher"]
    focal = torch.cat([arrays[f"focal{i + 1}"] for i in range(self.FOCAL)])
    probs = self.classify(student, arrays["anchor"], ids_keep=arrays["m/ids_keep"])
    probs = torch.cat([probs, self.classify(student, focal)])
    with torch.no_grad():
      target = self.classify(teacher, arrays["target"]) ** (1 / 0.25)
      target = sinkhorn((target / target.sum(1, keepdim=True)).T).repeat(1 + self.FOCAL, 1)
    mean = probs.mean(0)
    memax = (mean * mean.log()).sum() + math.log(len(mean))
    set_numbers(
      self.optimizer,
      learning_rate(k, 1e-3, end=1e-6, start=2e-4, scale=BATCH, total=self.RUN),
      cosine(0.04, 0.4, k, self.RUN),
    )
    self.optimizer.zero_grad(set_to_none=True)
    ((-target * probs.log()).sum(1).mean() + memax).backward()
    clip_together(student.parameters(), CLIP * 3.0)
    self.optimizer.step()
    average(teacher, student, 0.996 + (1.0 - 0.996) * k / self.RUN)


METHODS = dict(dino=DINO, ibot=IBOT, dinov2=DINOv2, msn=MSN)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_steps(name):
  compare(name, METHODS[name])


@pytest.mark.slow
def test_steps_of_dinov2_as_in_the_runs_on_larger_data():
  make = lambda: DINOv2(heads=("cls_logits", "patch_logits"), balanced=True)
  compare("dinov2", make, choices=",sinkhorn,separate_heads")
