"""Five optimizer steps of DINO and iBOT beside their authors' codes in form."""

import pytest

from tests.parity.both_sides import BATCH, CLIP, compare, EPOCH, models, torch, TorchMethod, VIT
from tests.parity.torch_training import average, cosine, decayed_and_not, frozen, learning_rate, set_numbers

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
METHODS = dict(dino=DINO, ibot=IBOT)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_steps(name):
  compare(name, METHODS[name])
