"""Facts of the self-distillation methods and of their kin."""

import math

from tests.preset_facts import Facts, NORMS

torch = lambda inputs: (3 * inputs) ** -0.5  # uniform within +-1 / sqrt(inputs)
cosine = lambda start, end, progress: end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
VIT = {"/embedding/": torch(768), "kernel$|/(cls|cls_position|pos_embedding)$": 0.02}
PROTOTYPES = {"prototypes/direction$": torch(256), "prototypes/gain$": 1.0}
CLIP = dict(per_tensor=3.0, joint="/(query|key|value)/|/(cls_position|pos_embedding)$")  # parameters of theirs


def multi_crop(large, small, count, *, sizes=(224, 96), filter="bicubic", names=("a", "b")):
  crops = {name: (sizes[0], large, filter) for name in names}
  return crops | {f"l{i + 1}": (sizes[1], small, filter) for i in range(count)}


FACTS = dict(
  dino=Facts(
    source="facebookresearch/dino: README.md (the run of 100 epochs), main_dino.py, vision_transformer.py, utils.py",
    decayed="/(kernel|cls|cls_position|pos_embedding|direction)$",
    start=PROTOTYPES | VIT | NORMS,
    crops=multi_crop((0.4, 1.0), (0.05, 0.4), 8),
    schedules={
      "optim.lr": (0.0, 1e-6),
      "optim.weight_decay": (0.04, 0.4),
      "networks.teacher.decay": (0.996, 1.0),
      "targets.y.temp": (0.04, 0.04),
    },
    optim=dict(name="adamw", b2=0.999, clip=CLIP),
  ),
  esvit=Facts(
    source="microsoft/esvit: README.md (the command for Swin-T), main_esvit.py, models/vision_transformer.py, utils.py",
    decayed="/(kernel|cls|cls_position|pos_embedding|direction|gain)$",
    start=PROTOTYPES | VIT | NORMS,
    crops=multi_crop((0.4, 1.0), (0.05, 0.4), 8),
    schedules={
      "optim.lr": (0.0, 1e-6),
      "optim.weight_decay": (0.04, 0.4),
      "networks.teacher.decay": (0.996, 1.0),
      "targets.y.temp": (0.04, 0.07),
      "targets.y_region.temp": (0.04, 0.07),
    },
    optim=dict(name="adamw", b2=0.999, clip=CLIP),
  ),
  ibot=Facts(
    source="bytedance/ibot: README.md (ViT-S/16), main_ibot.py, models/vision_transformer.py, models/head.py, utils.py",
    decayed="/(kernel|cls|cls_position|pos_embedding|mask_token|direction|gain)$",
    start={"/mask_token$": 0.0} | PROTOTYPES | VIT | NORMS,
    crops=multi_crop((0.25, 1.0), (0.05, 0.25), 10),
    schedules={
      "optim.lr": (0.0, 1e-6),
      "optim.weight_decay": (0.04, 0.4),
      "networks.teacher.decay": (0.996, 1.0),
      "targets.y.temp": (0.04, 0.07),
      "targets.y_patch.temp": (0.04, 0.07),
    },
    optim=dict(name="adamw", b2=0.999, clip=CLIP),
  ),
  dinov2=Facts(
    source="facebookresearch/dinov2: dinov2/configs/{ssl_default_config,train/vitl16_short}.yaml, dinov2/train/train.py, "
    "dinov2/utils/param_groups.py, dinov2/models/vision_transformer.py, dinov2/layers/dino_head.py, data/augmentations.py",
    decayed="/(kernel|cls|cls_position|pos_embedding|mask_token|direction|gain)$",
    start={"/mask_token$": 0.0, "/cls$": 1e-6, "/layer_scale_.$": 1e-5} | PROTOTYPES | VIT | NORMS,
    crops=multi_crop((0.32, 1.0), (0.05, 0.32), 8),
    schedules={
      "optim.lr": (0.0, 1e-6),
      "optim.weight_decay": (0.04, 0.4),
      "networks.teacher.decay": (0.992, 1.0),
      "targets.y.temp": (0.04, 0.07),
      "targets.y_patch.temp": (0.04, 0.07),
    },
    optim=dict(
      name="adamw",
      b2=0.999,
      clip=dict(global_norm=3.0),
      groups=dict(head=dict(params="^student/heads_head/")),  # clipped apart
      layer_decay=0.9,
      # 1250 steps of 125,000.
      lr_mults=(
        ("prototypes/", dict(schedule="step", values=(0.0, 1.0), boundaries_fraction=(0.01,))),
        ("/embedding/", 0.2),
      ),
    ),
  ),
  msn=Facts(
    source="facebookresearch/msn: configs/pretrain/msn_vits16.yaml, src/msn_train.py, src/deit.py, src/data_manager.py",
    decayed="^student/.*/(kernel|cls|cls_position|pos_embedding)$",
    start={"/embedding/kernel$": (2 / 768) ** 0.5, "/embedding/bias$": 0.0} | PROTOTYPES | VIT | NORMS,
    crops={v: (224, (0.3, 1.0), "bilinear") for v in ("target", "anchor")}
    | {f"focal{i + 1}": (96, (0.05, 0.3), "bilinear") for i in range(10)},
    # Schedules of 1000 epochs, cut at 800.
    schedules={
      "optim.lr": (2e-4, cosine(1e-3, 1e-6, 785 / 985)),
      "optim.weight_decay": (0.04, cosine(0.04, 0.4, 0.8)),
      "networks.teacher.decay": (0.996, 0.996 + 0.004 * 0.8),
    },
    optim=dict(
      name="adamw",
      b2=0.999,
      clip=dict(global_norm=3.0),
      groups=dict(prototypes=dict(params="^prototypes/", clip=None)),  # not clipped
    ),
  ),
  sit=Facts(
    source="Sara-Ahmed/SiT: README.md, main.py, vision_transformer.py, utils.py, datasets/datasets_utils.py",
    decayed="/(kernel|cls|cls_position|pos_embedding)$",
    start={"^student/heads_pixels/pixels/": torch(768)} | VIT | NORMS,
    crops={v: (224, (0.2, 1.0), "bicubic") for v in ("a", "b")},
    schedules={"optim.lr": (0.0, 1e-6), "optim.weight_decay": (0.04, 0.1), "networks.teacher.decay": (0.996, 1.0)},
    optim=dict(name="adamw", b2=0.999, clip=CLIP),
  ),
  mc_ssl=Facts(
    source="Sara-Ahmed/MCSSL: README.md, main_MCSSL.py, vision_transformer.py, datasets_utils.py, utils.py",
    decayed="/(kernel|cls|cls_position|pos_embedding|direction)$",
    start={"^student/heads_pixels/pixels/": torch(768)} | PROTOTYPES | VIT | NORMS,
    crops=multi_crop((0.25, 1.0), (0.05, 0.25), 10),
    schedules={
      "optim.lr": (0.0, 1e-6),
      "optim.weight_decay": (0.04, 0.4),
      "networks.teacher.decay": (0.996, 1.0),
      "targets.y.temp": (0.04, 0.07),
      "targets.y_patch.temp": (0.04, 0.07),
    },
    optim=dict(name="adamw", b2=0.999, clip=CLIP),
  ),
  lejepa=Facts(
    source="rbalestr-lab/lejepa: README.md, MINIMAL.md (all parameters decayed, torch's MLP on timm's ViT)",
    decayed="",
    start={"/cls$": 1e-6, "^student/heads_z/dense_0/": torch(1024), "^student/heads_z/dense_[12]/": torch(2048)}
    | VIT
    | {"/embedding/": torch(14 * 14 * 3)}
    | NORMS,
    crops=multi_crop((0.3, 1.0), (0.05, 0.3), 6, sizes=(224, 98)),
    schedules={"optim.lr": (0.0, 5e-7), "optim.weight_decay": (0.05, 0.05)},
    optim=dict(name="adamw", b2=0.999, clip=None),
  ),
)
