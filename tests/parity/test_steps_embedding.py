"""Five optimizer steps of methods on a ResNet beside their authors' codes in form."""

import pytest

from tests.parity.both_sides import BATCH, compare, DECAY, FROZEN, models, torch, TorchMethod
from tests.parity.torch_training import (
  average,
  cosine,
  frozen,
  larc,
  LARS,
  learning_rate,
  set_numbers,
  sinkhorn,
  synchronised,
)

nn, F = torch.nn, torch.nn.functional
FEATURES, HIDDEN, OUTPUT = 64, 24, 12


def resnet(**heads) -> nn.Module:
  return models.Network(models.ResNet(depth=50, width=2), **heads)


def update(optimizer, loss) -> None:
  optimizer.zero_grad(set_to_none=True)
  loss.backward()
  optimizer.step()


def embed(network, images):
  return network.heads["z"](network.backbone(images))


class SimCLR(TorchMethod):
  """google-research/simclr, tf2/{model,objective,lars_optimizer}.py."""

  def __init__(self):
    head = models.MLP([FEATURES, HIDDEN, OUTPUT], batch_norm=True, last_batch_norm=True, bias=False, last_bias=False)
    self.networks = synchronised(nn.ModuleDict(dict(student=resnet(z=head))))
    self.optimizer = LARS(self.networks.parameters(), weight_decay=DECAY * 1e-6, classic=True)

  def step(self, arrays, k):
    a, b = F.normalize(embed(self.networks["student"], torch.cat([arrays["a"], arrays["b"]]))).chunk(2)
    own = torch.eye(BATCH) * 1e9
    similarity = lambda x, y: x @ y.T / 0.1
    loss_a = F.cross_entropy(torch.cat([similarity(a, b), similarity(a, a) - own], dim=1), torch.arange(BATCH))
    loss_b = F.cross_entropy(torch.cat([similarity(b, a), similarity(b, b) - own], dim=1), torch.arange(BATCH))
    set_numbers(self.optimizer, learning_rate(k, 0.3))
    update(self.optimizer, loss_a + loss_b)


class MoCo(TorchMethod):
  """facebookresearch/moco, main_moco.py and moco/builder.py.

  There the teacher moves before it makes keys; between two forwards that is the same as after the update.
  """

  def __init__(self):
    make = lambda: resnet(z=models.MLP([FEATURES, HIDDEN, OUTPUT]))
    self.networks = synchronised(nn.ModuleDict(dict(student=make(), teacher=frozen(make()))))
    self.optimizer = torch.optim.SGD(self.networks["student"].parameters(), lr=0.03, momentum=0.9, weight_decay=DECAY * 1e-4)

  def start(self, memory):
    # jssl's queue has the newest batch first; here a pointer goes round, and begins where the oldest one is.
    self.queue, self.pointer = _batches_reversed(memory["nce_a"]), 0

  def memory(self):
    return {"nce_a": _batches_reversed(self.queue.roll(-self.pointer, 0))}

  def step(self, arrays, k):
    query = F.normalize(embed(self.networks["student"], arrays["a"]))
    with torch.no_grad():
      key = F.normalize(embed(self.networks["teacher"], arrays["b"]))
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ self.queue.T], dim=1) / 0.2
    loss = F.cross_entropy(logits, torch.zeros(BATCH, dtype=torch.long))
    self.queue = self.queue.clone()
    self.queue[self.pointer : self.pointer + BATCH] = key
    self.pointer = (self.pointer + BATCH) % len(self.queue)
    set_numbers(self.optimizer, learning_rate(k, 0.03, warmup=0))
    update(self.optimizer, loss)
    average(self.networks["teacher"], self.networks["student"], 0.999)


def _batches_reversed(queue):
  return queue.reshape(-1, BATCH, queue.shape[1]).flip(0).reshape(queue.shape)


class BYOL(TorchMethod):
  """google-deepmind/deepmind-research, byol/{byol_experiment,utils/{optimizers,schedules,helpers}}.py."""

  def __init__(self):
    mlp = lambda inputs: models.MLP([inputs, HIDDEN, OUTPUT], batch_norm=True, last_bias=False)
    networks = dict(
      student=resnet(z=mlp(FEATURES)), teacher=frozen(resnet(z=mlp(FEATURES))), predictor=models.Network(mlp(OUTPUT))
    )
    self.networks = synchronised(nn.ModuleDict(networks))
    trained = [*self.networks["student"].parameters(), *self.networks["predictor"].parameters()]
    self.optimizer = LARS(trained, weight_decay=DECAY * 1.5e-6)

  def step(self, arrays, k):
    student, teacher, predictor = (self.networks[name] for name in ("student", "teacher", "predictor"))
    predicted = [F.normalize(predictor.backbone(embed(student, arrays[v]))) for v in "ab"]
    with torch.no_grad():
      target = [F.normalize(embed(teacher, arrays[v])) for v in "ab"]
    regression = lambda x, y: (x - y).square().sum(-1)
    loss = (regression(predicted[0], target[1]) + regression(predicted[1], target[0])).mean()
    set_numbers(self.optimizer, learning_rate(k, 0.2))
    update(self.optimizer, loss)
    average(teacher, student, cosine(0.996, 1.0, k))


class SimSiam(TorchMethod):
  """facebookresearch/simsiam, main_simsiam.py and simsiam/builder.py; the predictor's rate is fixed."""

  def __init__(self):
    widths = [FEATURES, HIDDEN, HIDDEN, OUTPUT]
    projector = models.MLP(widths, batch_norm=True, last_batch_norm=True, bias=False, last_bias=False)
    predictor = models.MLP([OUTPUT, HIDDEN, OUTPUT], batch_norm=True, bias=False)
    self.networks = synchronised(nn.ModuleDict(dict(student=resnet(z=projector), predictor=models.Network(predictor))))
    groups = [dict(params=self.networks[name].parameters()) for name in ("student", "predictor")]
    self.optimizer = torch.optim.SGD(groups, lr=learning_rate(0, 0.05, warmup=0), momentum=0.9, weight_decay=DECAY * 1e-4)

  def step(self, arrays, k):
    student, predictor = self.networks["student"], self.networks["predictor"]
    z1, z2 = (embed(student, arrays[v]) for v in "ab")
    p1, p2 = predictor.backbone(z1), predictor.backbone(z2)
    similarity = lambda p, z: F.cosine_similarity(p, z.detach(), dim=1).mean()
    self.optimizer.param_groups[0]["lr"] = learning_rate(k, 0.05, warmup=0)
    update(self.optimizer, -0.5 * (similarity(p1, z2) + similarity(p2, z1)))


class BarlowTwins(TorchMethod):
  """facebookresearch/barlowtwins, main.py: weights and biases have learning rates of their own."""

  def __init__(self):
    head = models.MLP([FEATURES, HIDDEN, HIDDEN, OUTPUT], batch_norm=True, bias=False, last_bias=False)
    self.networks = synchronised(nn.ModuleDict(dict(student=resnet(z=head))))
    parameters = list(self.networks.parameters())
    groups = [dict(params=[p for p in parameters if p.ndim > 1]), dict(params=[p for p in parameters if p.ndim == 1])]
    self.optimizer = LARS(groups, weight_decay=DECAY * 1e-6)

  def step(self, arrays, k):
    a, b = (embed(self.networks["student"], arrays[v]) for v in "ab")
    a, b = (F.batch_norm(z, None, None, training=True, eps=1e-5) for z in (a, b))
    correlation = a.T @ b / BATCH
    diagonal = correlation.diagonal()
    loss = (diagonal - 1).square().sum() + 0.0051 * (correlation.square().sum() - diagonal.square().sum())
    for group, base in zip(self.optimizer.param_groups, (0.2, 0.0048), strict=True):
      group["lr"] = learning_rate(k, base, end=1e-3 * learning_rate(0, base, warmup=0))
    update(self.optimizer, loss)


class VICReg(TorchMethod):
  """facebookresearch/vicreg, main_vicreg.py."""

  def __init__(self):
    head = models.MLP([FEATURES, HIDDEN, HIDDEN, OUTPUT], batch_norm=True, last_bias=False)
    self.networks = synchronised(nn.ModuleDict(dict(student=resnet(z=head))))
    self.optimizer = LARS(self.networks.parameters(), weight_decay=DECAY * 1e-6)

  def step(self, arrays, k):
    views = [embed(self.networks["student"], arrays[v]) for v in "ab"]
    loss = 25 * F.mse_loss(*views)
    for z in views:
      z = z - z.mean(0)
      loss = loss + 25 * F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() / 2
      covariance = z.T @ z / (BATCH - 1)
      loss = loss + (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]
    set_numbers(self.optimizer, learning_rate(k, 0.2, end=1e-3 * learning_rate(0, 0.2, warmup=0)))
    update(self.optimizer, loss)


class SwAV(TorchMethod):
  """facebookresearch/swav, main_swav.py and src/resnet50.py; NVIDIA/apex, apex/parallel/LARC.py.

  The deviations that the config names are followed: prototypes are normalised where they are used, and BatchNorms see
  large and small crops apart.
  """

  GROUP = 4

  def __init__(self):
    student = resnet(z=models.MLP([FEATURES, HIDDEN, OUTPUT], batch_norm=True))
    prototypes = models.Network(nn.ModuleDict(dict(prototypes=models.Prototypes(OUTPUT, 10, False))))
    self.networks = nn.ModuleDict(dict(student=student, prototypes=prototypes))
    synchronised(self.networks, group=self.GROUP)
    self.optimizer = torch.optim.SGD(self.networks.parameters(), lr=0.0, momentum=0.9)

  def step(self, arrays, k):
    crops = [torch.cat([arrays[v] for v in names]) for names in ("ab", [f"l{i + 1}" for i in range(6)])]
    embedding = F.normalize(torch.cat([embed(self.networks["student"], images) for images in crops]))
    output = self.networks["prototypes"].backbone["prototypes"](embedding)
    scores, loss = output.chunk(8), 0.0
    for i in range(2):
      codes = sinkhorn((scores[i] / 0.05).exp().T)
      others = [v for v in range(8) if v != i]
      loss = loss - sum((codes * F.log_softmax(scores[v] / 0.1, dim=1)).sum(1).mean() for v in others) / len(others)
    self.optimizer.zero_grad(set_to_none=True)
    (loss / 2).backward()
    if k < FROZEN:
      self.networks["prototypes"].zero_grad(set_to_none=True)
    # In their run 0.3 to 4.8, then to 4.8e-3.
    peak = learning_rate(0, 0.3, warmup=0)
    set_numbers(self.optimizer, learning_rate(k, 0.3, start=peak / 16, end=1e-3 * peak))
    larc(self.optimizer, trust=1e-3, weight_decay=DECAY * 1e-6)
    self.optimizer.step()


METHODS = dict(simclr=SimCLR, moco_v2=MoCo, byol=BYOL, simsiam=SimSiam, barlow_twins=BarlowTwins, vicreg=VICReg, swav=SwAV)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_steps(name):
  compare(name, METHODS[name])
