"""Distillation without labels: a student of any size and kind learns to say of an image what a frozen teacher says.

    --config distill:demo@hf:/folder                     class token and patch tokens of public weights of any format
    --config distill:imagenet,cls@dino:/path.pth:teacher the class token alone, for a student or a teacher without patches
    --config distill:imagenet,patches@runs/x:teacher     the patch tokens alone, of a run's network
    --config distill:demo,head@runs/dino:teacher         what a run's DINO head says of large views, from small ones too

See `configs/released.py` for what may stand after the @. Features are predicted through a projector that is left behind
with it: the class token's by their cosine, those of patches by their cosine and, a little, by smooth L1, which sees their
lengths; so has AM-RADIO for each of its teachers (Ranzinger, Heinrich, Kautz, Molchanov, "AM-RADIO: Agglomerative Vision
Foundation Model", arXiv 2312.06709). Teacher and student see the same view (Beyer et al., "Knowledge distillation: A good
teacher is patient and consistent", arXiv 2106.05237), cut out and mirrored alone, in the teacher's colours; the student has
patches as large as the teacher's. With `head` it is DINO with a teacher that stands still, as DINOv2 distils its smaller
models (arXiv 2304.07193, section 5), there with the patches' loss on whole views beside it, and a moving average of the
student for the result.

    demo       a ViT of width 64, crops of 32 px or the teacher's, on a CPU
    imagenet   ViT-S, 224 px, batch 1024, 100 epochs

All numbers are our choice. `--config.networks.student.fn=resnet` (with `cls`) and the like change the student.
"""

from jssl.configs import common, released
from jssl.errors import ConfigError, UnknownPresetError

CHOICES = ("cls", "patches", "head")


def get_config(arg: str = "demo"):
  words, _, source = arg.partition("@")
  preset, *choices = words.split(",")
  if len(choices) > 1 or not set(choices) <= set(CHOICES):
    raise UnknownPresetError(f"'{words}'; after the preset there may come one of {', '.join(CHOICES)}")
  p = common.pick(
    preset,
    demo=dict(size=32, net=common.TINY, head=dict(hidden=256, init="mae"), patch=4),
    imagenet=dict(size=224, net=dict(variant="S/16"), head=dict(hidden=2048, init="dino"), patch=16),
  )
  name = f"distill:{words}"
  teacher = released.released(name, source, heads=choices == ["head"])
  config, size = common.base(preset), teacher.fitting(p.size)
  config.evaluation.network = "student"
  if preset == "demo":
    config.evaluation.size = 2 * size
    common.demo_run(config)
  else:
    common.adamw_run(config, batch_size=1024, epochs=100)
  config.networks.teacher = dict(teacher.entry, frozen=True)
  patch = dict(patch_size=teacher.patch if teacher.patch > 1 else p.patch)
  config.networks.student = dict(fn="vit", image_size=size, **p.net | patch)
  if choices == ["head"]:
    _head(config, preset, name, teacher, p)
  else:
    _features(config, preset, name, teacher, p, choices or ["cls", "patches"])
  for view in config.views.values():
    view.update(teacher.statistics)
  return config


def _features(config, preset: str, name: str, teacher: released.Released, p, parts) -> None:
  """The student's tokens, each through a projector, against the teacher's."""
  config.views = dict(v=common.view(preset, size=teacher.fitting(p.size), scale=(0.2, 1.0)))
  config.passes = dict(t=dict(net="teacher", reads=("v",)), s=dict(net="student", reads=("v",)))
  heads, projector = {}, dict(fn="mlp_head", layers=2, batch_norm=False, activation="gelu", **p.head)
  if "cls" in parts:
    heads["cls_features"] = dict(projector, reads=("features",), output=teacher.outputs["features"].shape[-1])
    config.targets.y = dict(fn="same", reads=("t/features",))
    config.losses.cls = dict(fn="negative_cosine_loss", reads=("s/cls_features", "y"), weight=1.0)
  if "patches" in parts:
    if "patch_tokens" not in teacher.outputs:
      raise ConfigError(f"--config {name}: a {teacher.entry['fn']} has no patch tokens: write distill:{preset},cls@...")
    width = teacher.outputs["patch_tokens"].shape[-1]
    heads["patch_features"] = dict(projector, reads=("patch_tokens",), output=width)
    config.targets.y_patch = dict(fn="same", reads=("t/patch_tokens",))
    reads = ("s/patch_features", "y_patch")
    config.losses.patch = dict(fn="negative_cosine_loss", reads=reads, weight=0.9)
    config.losses.patch_length = dict(fn="smooth_l1_loss", reads=reads, weight=0.1)
  config.networks.student.heads = heads


def _head(config, preset: str, name: str, teacher: released.Released, p) -> None:
  """DINO's loss between views, with the teacher's prototypes."""
  logits = next((key for key in ("logits", "cls_logits", "head/cls_logits") if key in teacher.outputs), None)
  if logits is None:
    raise ConfigError(f"--config {name}: the teacher has no head of prototypes, as those of dino, ibot and dinov2 are")
  large, small, size = ("a", "b"), ("l1", "l2"), config.networks.student.image_size
  config.views = common.multi_crop(
    preset,
    sizes=(size, teacher.fitting(size * (1 / 2 if preset == "demo" else 96 / 224))),
    global_scale=(0.4, 1.0),
    local_scale=(0.05, 0.4),
    local_crops=len(small),
    blur=preset == "imagenet",
  )
  prototypes = teacher.outputs[logits].shape[-1]
  config.networks.student.heads = dict(logits=dict(fn="dino_head", reads=("features",), prototypes=prototypes, **p.head))
  config.passes = (
    common.passes("s", large, "student", join="large")
    | common.passes("s", small, "student", join="small")
    | common.passes("t", large, "teacher", join="large")
  )
  config.targets.y = dict(fn="centered_softmax", reads=(common.outputs("t", large, logits),), temp=0.04, momentum=0.9)
  config.losses.dino = dict(
    fn="dino_loss", student_temp=0.1, reads=(common.outputs("s", large + small, "logits"), ("y/0", "y/1"))
  )
