"""Facts of the contrastive, clustering, decorrelation and distillation methods whose codes train a ResNet, and MoCo v3's."""

import math

from tests.preset_facts import Facts, NORMS

# Standard deviations by the shape of a layer's kernel.
torch = lambda kernel: (3 * math.prod(kernel[:-1])) ** -0.5  # uniform within +-1 / sqrt(inputs)
fan_in = lambda gain: lambda kernel: math.sqrt(gain / math.prod(kernel[:-1]))
fan_out = lambda kernel: math.sqrt(2 / math.prod((*kernel[:-2], kernel[-1])))
xavier = lambda inputs, outputs: math.sqrt(2 / (inputs + outputs))
HAIKU = 0.87962566103423978**2  # cut off at two deviations, without making up for it

LAYERS = "/dense_.*/(kernel|bias)$"
ZERO_INIT = {"/bn3/scale$": 0.0}
TORCHVISION = {LAYERS: torch, "backbone/.*kernel$": fan_out}
WEIGHTS = "/kernel$"
ALL = "."

SIMCLR = dict(jitter=(0.8, 0.8, 0.8, 0.2), jitter_prob=0.8, grayscale=0.2, blur=0.5, blur_sigma=(0.1, 2.0), solarize=0.0)
MOCO = SIMCLR | dict(jitter=(0.4, 0.4, 0.4, 0.1))
BYOL = SIMCLR | dict(jitter=(0.4, 0.4, 0.2, 0.1))
IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SWAV = SIMCLR | IMAGENET | dict(std=(0.228, 0.224, 0.225))
SMALL = tuple(f"l{i + 1}" for i in range(6))


def pair(area, filter, numbers=None, b=None):
  """Crops and numbers of two views of 224 px; those of the second where they are others."""
  crops = {v: (224, area, filter) for v in ("a", "b")}
  return dict(crops=crops, numbers=dict(a=numbers, b=b or numbers))


BYOL_PAIR = (BYOL | IMAGENET | dict(blur=1.0), BYOL | IMAGENET | dict(blur=0.1, solarize=0.2))
LARS = dict(name="lars", eta=1e-3, momentum=0.9, nesterov=False, lars_clip=False, classic_momentum=False)
SGD = dict(name="sgd", momentum=0.9, nesterov=False)
CONSTANT = lambda decay: {"optim.weight_decay": (decay, decay)}

SWAV_FACTS = dict(
  decayed=ALL,
  start={"^prototypes/": torch} | TORCHVISION | NORMS,
  crops={v: (224, (0.14, 1.0), "bilinear") for v in ("a", "b")} | {v: (96, (0.05, 0.14), "bilinear") for v in SMALL},
  numbers=dict.fromkeys(("a", "b", *SMALL), SWAV),
  schedules={"optim.lr": (0.3, 4.8e-3)} | CONSTANT(1e-6),
  optim=dict(name="larc", eta=1e-3, momentum=0.9, nesterov=False),
  networks={"student.batch_norm_group": 8 * 64, "student.heads.z.batch_norm_group": 8 * 64},
)

FACTS = dict(
  simclr=Facts(
    source="google-research/simclr: README.md, tf2/{model,resnet,data_util,lars_optimizer,run}.py",
    decayed=WEIGHTS,
    start=ZERO_INIT | {"backbone/.*kernel$": fan_in(1.0), "heads_z/.*kernel$": 0.01} | NORMS,
    **pair((0.08, 1.0), "bicubic", SIMCLR | dict(mean=0.0, std=1.0)),
    schedules={"optim.lr": (0.0, 0.0)} | CONSTANT(1e-6),
    optim=LARS | dict(classic_momentum=True),
  ),
  supcon=Facts(
    source="google-research/google-research: supcon/scripts/{supcon_imagenet_resnet50,configs}.sh, "
    "supcon/{blocks,resnet,projection_head,preprocessing,hparams,utils,launcher}.py",
    decayed="/(kernel|dense_.*/bias)$",
    start=ZERO_INIT | {"backbone/.*kernel$": fan_in(1.0), "heads_z/.*kernel$": 0.01} | NORMS,
    **pair((0.08, 1.0), "bilinear", SIMCLR),
    schedules={"optim.lr": (0.0, 0.0)} | CONSTANT(1e-3),
    optim=LARS | dict(classic_momentum=True),
  ),
  rotation=Facts(
    source="gidariss/FeatureLearningRotNet: config/ImageNet_RotNet_AlexNet.py, architectures/AlexNet.py; "
    "torchvision's ResNet",
    decayed=ALL,
    start=ZERO_INIT | TORCHVISION | NORMS,
    crops=dict(crop=(224, (0.08, 1.0), "bilinear")),
    schedules={"optim.lr": (0.01, 1e-5)} | CONSTANT(5e-4),
    optim=SGD | dict(nesterov=True),
  ),
  nnclr=Facts(
    source="arXiv 2104.14548, section 4.1; vturrisi/solo-learn: solo/methods/nnclr.py; torchvision's ResNet",
    decayed=WEIGHTS,
    start=ZERO_INIT | TORCHVISION | NORMS,
    **pair((0.08, 1.0), "bicubic", *BYOL_PAIR),
    schedules={"optim.lr": (0.0, 0.0)} | CONSTANT(1e-6),
    optim=LARS,
  ),
  moco_v2=Facts(
    source="facebookresearch/moco: README.md, main_moco.py, moco/builder.py",
    decayed=ALL,
    start=TORCHVISION | NORMS,
    **pair((0.2, 1.0), "bilinear", MOCO | IMAGENET),
    schedules={"optim.lr": (0.03, 0.0), "networks.teacher.decay": (0.999, 0.999)} | CONSTANT(1e-4),
    optim=SGD,
  ),
  moco_v3=Facts(
    source="facebookresearch/moco-v3: CONFIG.md, main_moco.py, vits.py, moco/builder.py",
    decayed=ALL,  # the embedding is frozen
    start={
      "/cls$": 1e-6,
      "/dense_.*/kernel$": torch,
      "/embedding/kernel$": xavier(768, 384),
      "/(query|key|value|out)/kernel$": xavier(384, 384),
      "/Dense_./kernel$": xavier(384, 1536),
    }
    | NORMS,
    **pair((0.08, 1.0), "bilinear", *BYOL_PAIR),
    schedules={"optim.lr": (0.0, 0.0), "networks.teacher.decay": (0.99, 1.0)} | CONSTANT(0.1),
    optim=dict(name="adamw", b1=0.9, b2=0.999, eps=1e-8, clip=None),
  ),
  densecl=Facts(
    source="WXinlong/DenseCL: configs/selfsup/densecl/densecl_imagenet_200ep.py, openselfsup/models/{densecl,necks}.py, "
    "openselfsup/models/backbones/resnet.py",
    decayed=ALL,
    start={
      "backbone/.*kernel$": fan_in(2.0),
      "heads_z/.*kernel$": fan_in(2.0),
      "heads_z/.*bias$": 0.0,
      "heads_dense/.*(kernel|bias)$": torch,
    }
    | NORMS,
    **pair((0.2, 1.0), "bilinear", MOCO | IMAGENET),
    schedules={"optim.lr": (0.03, 0.0), "networks.teacher.decay": (0.999, 0.999)} | CONSTANT(1e-4),
    optim=SGD,
  ),
  sogclr=Facts(
    source="Optimization-AI/SogCLR: README.md, train.py, sogclr/{builder,optimizer}.py",
    decayed=WEIGHTS,
    start=ZERO_INIT | TORCHVISION | NORMS,
    **pair((0.08, 1.0), "bilinear", BYOL | IMAGENET | dict(blur=1.0)),
    schedules={"optim.lr": (0.0, 0.0)} | CONSTANT(1e-6),
    optim=LARS,
  ),
  swav=Facts(
    source="facebookresearch/swav: scripts/swav_800ep_pretrain.sh, main_swav.py, src/{multicropdataset,resnet50}.py; "
    "NVIDIA/apex: apex/parallel/LARC.py",
    **SWAV_FACTS,
  ),
  deepcluster_v2=Facts(
    source="facebookresearch/swav: scripts/deepclusterv2_800ep_pretrain.sh, main_deepclusterv2.py, and as SwAV", **SWAV_FACTS
  ),
  barlow_twins=Facts(
    source="facebookresearch/barlowtwins: main.py",
    decayed=WEIGHTS,
    start=ZERO_INIT | TORCHVISION | NORMS,
    **pair((0.08, 1.0), "bicubic", *BYOL_PAIR),
    schedules={"optim.lr": (0.0, 1.6e-3)} | CONSTANT(1e-6),
    optim=LARS | dict(lr_mults=((r"/(bias|scale)$", 0.0048 / 0.2),)),
  ),
  mixed_barlow_twins=Facts(
    source="wgcban/mix-bt: main_imagenet.py, scripts-pretrain-resnet50/imagenet.sh",
    decayed=WEIGHTS,
    start=ZERO_INIT | TORCHVISION | NORMS,
    **pair((0.08, 1.0), "bicubic", *BYOL_PAIR),
    schedules={"optim.lr": (0.0, 8e-4), "losses.reg.weight": (0.0, 0.0051 / 2)} | CONSTANT(1e-6),
    optim=LARS | dict(lr_mults=((r"/(bias|scale)$", 0.0048 / 0.2),)),
  ),
  vicreg=Facts(
    source="facebookresearch/vicreg: README.md (batch 2048, 1000 epochs), main_vicreg.py, augmentations.py, resnet.py",
    decayed=WEIGHTS,
    start=ZERO_INIT | TORCHVISION | NORMS,
    **pair((0.08, 1.0), "bicubic", *BYOL_PAIR),
    schedules={"optim.lr": (0.0, 1.6e-3)} | CONSTANT(1e-6),
    optim=LARS,
  ),
  w_mse=Facts(
    source="htdt/self-supervised: README.md (ImageNet-100), cfg.py, model.py, train.py, datasets/{imagenet,transforms}.py",
    decayed=ALL,
    start=TORCHVISION | NORMS,
    **pair((0.08, 1.0), "bicubic", SIMCLR | IMAGENET),
    schedules={"optim.lr": (0.0, 0.04 * 2e-3)} | CONSTANT(1e-6),
    optim=dict(b1=0.9, b2=0.999, eps=1e-8, clip=None),
  ),
  tico=Facts(
    source="lightly-ai/lightly: benchmarks/imagenet/resnet50/tico.py, lightly/models/modules/heads.py, "
    "lightly/utils/lars.py, lightly/transforms/byol_transform.py",
    decayed=WEIGHTS,
    start=TORCHVISION | NORMS,
    **pair((0.08, 1.0), "bilinear", *BYOL_PAIR),
    schedules={"optim.lr": (0.0, 0.0), "networks.teacher.decay": (0.99, 1.0)} | CONSTANT(1.5e-6),
    optim=dict(name="larc", eta=1e-3, momentum=0.9, nesterov=False),
  ),
  byol=Facts(
    source="google-deepmind/deepmind-research: byol/configs/byol.py, byol/byol_experiment.py, "
    "byol/utils/{networks,augmentations,dataset,optimizers}.py; Haiku's defaults",
    decayed=WEIGHTS,
    start=ZERO_INIT | {"/kernel$": fan_in(HAIKU)} | NORMS,
    **pair((0.08, 1.0), "bicubic", *BYOL_PAIR),
    schedules={"optim.lr": (0.0, 0.0), "networks.teacher.decay": (0.996, 1.0)} | CONSTANT(1.5e-6),
    optim=LARS,
  ),
  simsiam=Facts(
    source="facebookresearch/simsiam: README.md, main_simsiam.py, simsiam/builder.py",
    decayed=ALL,
    start=ZERO_INIT | TORCHVISION | NORMS,
    **pair((0.2, 1.0), "bilinear", MOCO | IMAGENET),
    schedules={"optim.lr": (0.1, 0.0)} | CONSTANT(1e-4),
    optim=SGD | dict(constant_lr=("^predictor/",)),
  ),
  ressl=Facts(
    source="KyleZheng1997/ReSSL: ressl.py, network/{ressl,backbone,head,resnet}.py, data/augmentation.py",
    decayed="/kernel$|/downsample_1/scale$",
    start=TORCHVISION | NORMS,
    crops={v: (224, (0.2, 1.0), "bilinear") for v in ("strong", "weak")},
    numbers=dict(strong=MOCO | IMAGENET, weak=dict(IMAGENET, jitter=None, grayscale=0.0, blur=0.0, solarize=0.0)),
    schedules={"optim.lr": (0.0, 0.0), "networks.teacher.decay": (0.999, 0.999)} | CONSTANT(1e-4),
    optim=SGD,
  ),
)
