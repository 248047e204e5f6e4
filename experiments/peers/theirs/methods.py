"""The methods of lightly's components, put together as its examples do it."""

from collections.abc import Mapping
from typing import Any

from lightly.loss import (
  BarlowTwinsLoss,
  DINOLoss,
  IBOTPatchLoss,
  MSNLoss,
  NegativeCosineSimilarity,
  NTXentLoss,
  SwaVLoss,
  VICRegLoss,
)
from lightly.models import utils
from lightly.models.modules import heads as of_lightly
from lightly.models.modules import IJEPAPredictorTIMM, MaskedVisionTransformerDecoderTIMM, SwaVPrototypes
import networks
import torch
from torch import nn
from torch.nn import functional as F

Config = Mapping[str, Any]
LARGE = ("a", "b")


class Method:
  """A method on a record.

  Args:
    config: `numbers.json` of the record.
    start: `start.npz`.

  Attributes:
    trained: networks by jssl's names.
    teacher: EMA of the student, if there is one.
  """

  def __init__(self, config: Config, start: Mapping[str, Any]):
    self.config, self.teacher = config, None
    self.trained = nn.ModuleDict(self.build(config["networks"]))
    networks.load(self.trained, {name[len("params/") :]: start[name] for name in start if name.startswith("params/")})
    if config["decay"]:
      self.teacher = self.build(config["networks"])["student"]
      self.teacher.load_state_dict(self.trained["student"].state_dict())
      utils.deactivate_requires_grad(self.teacher)
    self.begin(start)

  def build(self, nets: Config) -> dict[str, nn.Module]:
    """The networks that are trained, by the names and numbers of jssl's config."""
    raise NotImplementedError

  def begin(self, start: Mapping[str, Any]) -> None:
    """Makes the losses."""

  def loss(self, x: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Of a batch: views `[batch, 3, H, W]` and masks, by jssl's names."""
    raise NotImplementedError

  def finish(self, k: int) -> None:
    """After the k-th update."""
    if self.teacher is not None:
      utils.update_momentum(self.trained["student"], self.teacher, m=self.config["decay"][k])

  def evaluated(self):
    """The backbone that jssl evaluates."""
    name = self.config["evaluated"]
    return (self.teacher if name == "teacher" else self.trained[name]).backbone


class OfTwoViews(Method):
  """A loss of the embeddings of both views."""

  def loss(self, x):
    return self.criterion(*(embed(self.trained["student"], x[v]) for v in LARGE))


def student(nets: Config, head: type[nn.Module], **numbers):
  """The student with a projector of one of lightly's classes."""
  net = nets["student"]
  z = net["heads"]["z"]
  return networks.network(net, z=networks.named(head(net["width"], z["hidden"], z["output"], **numbers)))


def predictor(nets: Config, head: type[nn.Module]):
  """What predicts a projector's output, of one of lightly's classes."""
  p = nets["predictor"]
  return networks.torch_models.Network(
    networks.named(head(nets["student"]["heads"]["z"]["output"], p["hidden"], p["output"]))
  )


def embed(network, images):
  """The projector's output of images `[batch, 3, H, W]`."""
  return network.heads["z"](network.backbone(images))


class SimCLR(OfTwoViews):
  def build(self, nets):
    return dict(student=student(nets, of_lightly.SimCLRProjectionHead, batch_norm=False))

  def begin(self, start):
    self.criterion = NTXentLoss(temperature=self.config["losses"]["nt_xent"]["temperature"])


class MoCo(Method):
  def build(self, nets):
    return dict(student=student(nets, of_lightly.MoCoProjectionHead))

  def begin(self, start):
    queue = torch.from_numpy(start["memory/nce_a"]).to(torch.get_default_dtype())
    self.criterion = NTXentLoss(self.config["losses"]["nce_a"]["temperature"], memory_bank_size=tuple(queue.shape))
    self.criterion.memory_bank.bank = queue.flip(0)  # there the newest come first, here they take the place of the first

  def loss(self, x):
    return self.criterion(embed(self.trained["student"], x["a"]), embed(self.teacher, x["b"]))


class BYOL(Method):
  def build(self, nets):
    return dict(
      student=student(nets, of_lightly.BYOLProjectionHead), predictor=predictor(nets, of_lightly.BYOLPredictionHead)
    )

  def begin(self, start):
    self.criterion = NegativeCosineSimilarity()

  def loss(self, x):
    p = [self.trained["predictor"].backbone(embed(self.trained["student"], x[v])) for v in LARGE]
    z = [embed(self.teacher, x[v]) for v in LARGE]
    return 0.5 * (self.criterion(p[0], z[1]) + self.criterion(p[1], z[0]))


class SimSiam(Method):
  def build(self, nets):
    return dict(
      student=student(nets, of_lightly.SimSiamProjectionHead), predictor=predictor(nets, of_lightly.SimSiamPredictionHead)
    )

  def begin(self, start):
    self.criterion = NegativeCosineSimilarity()

  def loss(self, x):
    z = [embed(self.trained["student"], x[v]) for v in LARGE]
    p = [self.trained["predictor"].backbone(each) for each in z]
    return 0.5 * (self.criterion(z[0].detach(), p[1]) + self.criterion(z[1].detach(), p[0]))


class BarlowTwins(OfTwoViews):
  def build(self, nets):
    return dict(student=student(nets, of_lightly.BarlowTwinsProjectionHead))

  def begin(self, start):
    self.criterion = BarlowTwinsLoss(self.config["losses"]["bt"]["lambd"])


class VICReg(OfTwoViews):
  def build(self, nets):
    return dict(student=student(nets, of_lightly.VICRegProjectionHead))

  def begin(self, start):
    weights = self.config["losses"]["vicreg"]
    self.criterion = VICRegLoss(*(weights[f"{term}_weight"] for term in ("invariance", "variance", "covariance")))


class SwAV(Method):
  """Prototypes are normalised before each step, as in the authors' code, and have no bias, as there."""

  def build(self, nets):
    prototypes = SwaVPrototypes(nets["student"]["heads"]["z"]["output"], nets["prototypes"]["prototypes"])
    nn.init.zeros_(prototypes.heads[0].bias.requires_grad_(False))
    head = of_lightly.SwaVProjectionHead
    return dict(student=student(nets, head), prototypes=networks.torch_models.Network(prototypes))

  def begin(self, start):
    temperature, epsilon = self.config["losses"]["swav"]["student_temp"], self.config["targets"]["y"]["temp"]
    self.criterion = SwaVLoss(temperature, self.config["targets"]["y"]["iterations"], epsilon)

  def loss(self, x):
    prototypes = self.trained["prototypes"].backbone
    prototypes.normalize()
    crops = (LARGE, [v for v in x if v not in LARGE])
    embedded = [embed(self.trained["student"], torch.cat([x[v] for v in names])) for names in crops]
    return self.criterion(
      *(prototypes(F.normalize(z)).chunk(len(names)) for z, names in zip(embedded, crops, strict=True))
    ).squeeze()


class DINO(Method):
  def build(self, nets):
    net = nets["student"]
    h = net["heads"]["logits"]
    head = of_lightly.DINOProjectionHead(net["width"], h["hidden"], h["bottleneck"], h["prototypes"])
    return dict(student=networks.network(net, logits=networks.named(head)))

  def begin(self, start):
    prototypes = self.config["networks"]["student"]["heads"]["logits"]["prototypes"]
    y, temp = self.config["targets"]["y"], self.config["losses"]["dino"]["student_temp"]
    self.criterion = DINOLoss(prototypes, teacher_temp=y["temp"], student_temp=temp, center_momentum=y["momentum"])

  def loss(self, x):
    logits = lambda network, v: network.heads["logits"](network.backbone(x[v]))
    views = [*LARGE, *(v for v in x if v not in LARGE)]
    return self.criterion([logits(self.teacher, v) for v in LARGE], [logits(self.trained["student"], v) for v in views])


class IBOT(Method):
  """The center of the patches is that of hidden ones, as in DINOv2's code; in jssl's, as in iBOT's, that of all."""

  def build(self, nets):
    net = nets["student"]
    h = net["heads"]["head"]
    head = of_lightly.DINOProjectionHead(net["width"], h["hidden"], h["bottleneck"], h["prototypes"])
    return dict(student=networks.network(net, head=networks.named(head)))

  def begin(self, start):
    prototypes = self.config["networks"]["student"]["heads"]["head"]["prototypes"]
    targets, losses = self.config["targets"], self.config["losses"]
    numbers = lambda y, loss: dict(
      teacher_temp=targets[y]["temp"], student_temp=losses[loss]["student_temp"], center_momentum=targets[y]["momentum"]
    )
    self.of_views = DINOLoss(prototypes, **numbers("y", "cls"))
    self.of_patches = IBOTPatchLoss(prototypes, **numbers("y_patch", "patch"))

  def loss(self, x):
    student, large = self.trained["student"], torch.cat([x[v] for v in LARGE])
    mask = torch.cat([x[f"m_{v}/mask"] for v in LARGE])
    small = [v for v in x if v not in LARGE and "/" not in v]
    seen = student.backbone.encode(large, mask=F.pad(mask, (1, 0)))
    whole = self.teacher.backbone.encode(large)
    views = [*seen[:, 0].chunk(2), *(student.backbone(x[v]) for v in small)]
    of_views = self.of_views(
      [self.teacher.heads["head"](z) for z in whole[:, 0].chunk(2)], [student.heads["head"](z) for z in views]
    )
    hidden = [net.heads["head"](z[:, 1:][mask]) for net, z in ((self.teacher, whole), (student, seen))]
    side = round(mask.shape[1] ** 0.5)
    return of_views + self.of_patches(*hidden, mask.view(-1, side, side))


class MAE(Method):
  def build(self, nets):
    net, d = nets["encoder"], nets["decoder"]
    patches = (net["image_size"] // net["patch_size"]) ** 2
    decoder = dict(
      embedding=nn.Linear(net["width"], d["width"]),
      decoder=MaskedVisionTransformerDecoderTIMM(patches, d["width"], d["depth"], d["num_heads"]),
      head=nn.Linear(d["width"], 3 * net["patch_size"] ** 2),
    )
    return dict(encoder=networks.network(net), decoder=networks.torch_models.Network(nn.ModuleDict(decoder)))

  def begin(self, start):
    self.criterion = nn.MSELoss()

  def loss(self, x):
    decoder, mask = self.trained["decoder"].backbone, x["m/mask"]
    keep = F.pad(x["m/ids_keep"] + 1, (1, 0))  # the class token is 0
    hidden = mask.nonzero()[:, 1].view(len(mask), -1)
    encoded = decoder["embedding"](self.trained["encoder"].backbone.encode(x["v"], idx_keep=keep))
    tokens = utils.repeat_token(decoder["decoder"].mask_token, (len(mask), mask.shape[1] + 1))
    tokens = decoder["decoder"](utils.set_at_index(tokens, keep, encoded))
    pixels = decoder["head"](utils.get_at_index(tokens, hidden + 1))
    patches = utils.patchify(x["v"], self.config["networks"]["encoder"]["patch_size"])
    return self.criterion(pixels, utils.normalize_mean_var(utils.get_at_index(patches, hidden)))


class SimMIM(Method):
  def build(self, nets):
    net = nets["encoder"]
    return dict(encoder=networks.network(net, pixels=nn.Linear(net["width"], 3 * net["patch_size"] ** 2)))

  def begin(self, start):
    self.criterion = nn.L1Loss()

  def loss(self, x):
    encoder, mask = self.trained["encoder"], x["m/mask"]
    tokens = encoder.backbone.encode(x["v"], mask=F.pad(mask, (1, 0)))[:, 1:]
    patches = utils.patchify(x["v"], self.config["networks"]["encoder"]["patch_size"])
    return self.criterion(encoder.heads["pixels"](tokens[mask]), patches[mask])


class IJEPA(Method):
  def build(self, nets):
    net, p = nets["student"], nets["predictor"]
    patches = (net["image_size"] // net["patch_size"]) ** 2
    predictor = IJEPAPredictorTIMM(patches, p["depth"], net["width"], p["width"], p["num_heads"])
    return dict(student=networks.network(net), predictor=networks.torch_models.Network(predictor))

  def begin(self, start):
    self.criterion = nn.SmoothL1Loss()

  def loss(self, x):
    context, blocks = x["m/context"], list(x["m/target"].unbind(1))
    with torch.no_grad():
      whole = self.teacher.backbone.encode(x["v"])
      target = utils.apply_masks(F.layer_norm(whole, (whole.shape[-1],)), blocks)
    seen = self.trained["student"].backbone.encode(x["v"], idx_keep=context)
    return self.criterion(self.trained["predictor"].backbone(seen, context, blocks), target)


class MSN(Method):
  def build(self, nets):
    prototypes = nn.Linear(nets["student"]["heads"]["z"]["output"], nets["prototypes"]["prototypes"], bias=False)
    head = of_lightly.MSNProjectionHead
    return dict(student=student(nets, head), prototypes=networks.torch_models.Network(prototypes))

  def begin(self, start):
    losses, y = self.config["losses"], self.config["targets"]["y"]
    self.sharpening = y["temp"] / losses["ce"]["student_temp"]
    self.criterion = MSNLoss(losses["ce"]["student_temp"], y["iterations"], losses["memax"]["weight"])

  def loss(self, x):
    student, focal = self.trained["student"], [v for v in x if v.startswith("focal")]
    keep = F.pad(x["m/ids_keep"] + 1, (1, 0))
    anchors = student.heads["z"](student.backbone(x["anchor"], idx_keep=keep))
    anchors = torch.cat([anchors, embed(student, torch.cat([x[v] for v in focal]))])
    targets, prototypes = embed(self.teacher, x["target"]), self.trained["prototypes"].backbone.weight
    return self.criterion(anchors, targets, prototypes, target_sharpen_temperature=self.sharpening)


METHODS = dict(
  simclr=SimCLR,
  moco_v2=MoCo,
  byol=BYOL,
  simsiam=SimSiam,
  barlow_twins=BarlowTwins,
  vicreg=VICReg,
  swav=SwAV,
  dino=DINO,
  mae=MAE,
  simmim=SimMIM,
  ibot=IBOT,
  ijepa=IJEPA,
  msn=MSN,
)
