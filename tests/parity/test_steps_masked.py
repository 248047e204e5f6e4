"""Five optimizer steps of masked methods beside their authors' codes in form."""

import pytest

from tests.parity.both_sides import BATCH, BOOST, CLIP, compare, EPOCH, models, torch, TorchMethod, TOTAL, VIT
from tests.parity.torch_training import average, cosine, decayed_and_not, frozen, learning_rate, set_numbers

nn, F = torch.nn, torch.nn.functional
SIDE = VIT["image_size"] // VIT["patch_size"]


def update(optimizer, loss, *, clip=None) -> None:
  optimizer.zero_grad(set_to_none=True)
  loss.backward()
  if clip:
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
  optimizer.step()


class MAE(TorchMethod):
  """facebookresearch/mae, main_pretrain.py, engine_pretrain.py, models_mae.py and util/lr_sched.py."""

  def __init__(self):
    decoder = models.MAEDecoder(inputs=VIT["width"], side=SIDE, patch_size=VIT["patch_size"], width=8, depth=1, num_heads=2)
    networks = dict(encoder=models.Network(models.ViT(**VIT, position="sincos2d")), decoder=models.Network(decoder))
    self.networks = nn.ModuleDict(networks)
    self.optimizer = torch.optim.AdamW(decayed_and_not(self.networks.named_parameters()), betas=(0.9, 0.95))

  def step(self, arrays, k):
    tokens = self.networks["encoder"].backbone(arrays["v"], ids_keep=arrays["m/ids_keep"])
    pixels = self.networks["decoder"].backbone(tokens, arrays["m/ids_restore"])
    target = models.patchify(arrays["v"], VIT["patch_size"])
    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    error, mask = (pixels - target).square().mean(-1), arrays["m/mask"]
    set_numbers(self.optimizer, learning_rate(k, 1.5e-4), 0.05)
    update(self.optimizer, (error * mask).sum() / mask.sum())


class SimMIM(TorchMethod):
  """microsoft/SimMIM, main_simmim.py, models/{simmim,vision_transformer}.py, optimizer.py and lr_scheduler.py.

  There a step's learning rate is set after it, for the next one. Keys have no bias there; here it gets no gradient.
  """

  def __init__(self):
    backbone = models.ViT(**VIT, position="relative_bias", mask_token=True, layer_scale=0.1)
    head = models.ReconstructionHead(VIT["width"], patch_size=VIT["patch_size"])
    self.networks = nn.ModuleDict(dict(encoder=models.Network(backbone, pixels=head)))
    # The class token is among those that are not decayed.
    named = [(n, p) for n, p in self.networks.named_parameters()]
    groups = decayed_and_not([(n, p) for n, p in named if not n.endswith(".cls")])
    groups[1]["params"] += [p for n, p in named if n.endswith(".cls")]
    self.optimizer = torch.optim.AdamW(groups)

  def step(self, arrays, k):
    encoder, mask = self.networks["encoder"], arrays["m/mask"]
    pixels = encoder.heads["pixels"](encoder.backbone(arrays["v"], mask=mask)[:, 1:])
    target = models.patchify(arrays["v"], VIT["patch_size"])
    error = (pixels - target).abs() * mask[:, :, None]
    peak = BOOST * 1e-4 * BATCH / 512
    start = peak * 5e-7 / 1e-4
    lr = start + (peak - start) * k / 2 if k < 2 else peak if k < EPOCH else 0.1 * peak
    set_numbers(self.optimizer, lr, 0.05)
    # Their normaliser, the hidden pixels plus 1e-5, and their channels.
    hidden = mask.sum() * VIT["patch_size"] ** 2
    update(self.optimizer, error.sum() / (hidden + 1e-5) / 3, clip=CLIP * 5.0)


class JEPAPredictor(nn.Module):
  """src/models/vision_transformer.py: context and mask tokens, with fixed positions, through a narrow transformer."""

  def __init__(self, inputs, *, width, depth, num_heads):
    super().__init__()
    self.embedding, self.head = nn.Linear(inputs, width), nn.Linear(width, inputs)
    self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
    self.register_buffer("positions", models.sincos2d(SIDE, width))
    self.blocks = nn.ModuleList(models.Block(width, num_heads) for _ in range(depth))
    self.norm = nn.LayerNorm(width, eps=1e-6)

  def forward(self, tokens, context, target):
    """One block at a time: `target [batch, size]`."""
    positions = self.positions.expand(len(tokens), -1, -1)
    x = self.embedding(tokens) + models.take(positions, context)
    x = torch.cat([x, self.mask_token + models.take(positions, target)], dim=1)
    for block in self.blocks:
      x = block(x)
    return self.head(self.norm(x)[:, context.shape[1] :])


class IJEPA(TorchMethod):
  """facebookresearch/ijepa, src/{train,helper}.py, src/models/vision_transformer.py and src/utils/schedulers.py.

  There the schedules of learning rate and decay are read one step ahead.
  """

  def __init__(self):
    vit = lambda: models.Network(models.ViT(**VIT, position="sincos2d", cls_token=False))
    predictor = models.Network(JEPAPredictor(VIT["width"], width=8, depth=1, num_heads=2))
    self.networks = nn.ModuleDict(dict(student=vit(), teacher=frozen(vit()), predictor=predictor))
    self.optimizer = torch.optim.AdamW(decayed_and_not(self.networks.named_parameters()))

  def step(self, arrays, k):
    context, blocks = arrays["m/context"], arrays["m/target"].unbind(1)
    with torch.no_grad():
      h = self.networks["teacher"].backbone(arrays["v"])
      h = F.layer_norm(h, (h.shape[-1],))
      h = torch.cat([models.take(h, block) for block in blocks])
    z = self.networks["student"].backbone(arrays["v"], ids_keep=context)
    z = torch.cat([self.networks["predictor"].backbone(z, context, block) for block in blocks])
    set_numbers(self.optimizer, learning_rate(k, 1e-3, end=1e-6, start=2e-4, scale=BATCH), cosine(0.04, 0.4, k))
    update(self.optimizer, F.smooth_l1_loss(z, h))
    average(self.networks["teacher"], self.networks["student"], 0.996 + (1.0 - 0.996) * k / TOTAL)


METHODS = dict(mae=MAE, simmim=SimMIM, ijepa=IJEPA)


@pytest.mark.parametrize("name", ["mae", *[pytest.param(name, marks=pytest.mark.slow) for name in ("simmim", "ijepa")]])
def test_steps(name):
  compare(name, METHODS[name])
