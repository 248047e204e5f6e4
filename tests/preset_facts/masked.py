"""Facts of the masked methods."""

from tests.preset_facts import Facts, NORMS

BEIT = 0.02 * (1 - 2 * 0.24197072 / 0.68268949) ** 0.5  # N(0, 0.02) cut off at +-0.02
torch = lambda inputs: (3 * inputs) ** -0.5  # uniform within +-1 / sqrt(inputs)
xavier = lambda inputs, outputs: (2 / (inputs + outputs)) ** 0.5


def xavier_blocks(network, width):
  """Query, key and value are one matrix in torch."""
  return {
    f"^{network}/.*/(query|key|value)/kernel$": xavier(width, 3 * width),
    f"^{network}/.*/out/kernel$": xavier(width, width),
    f"^{network}/.*/Dense_./kernel$": xavier(width, 4 * width),
  }


def mae_start(encoder="encoder"):
  return (
    xavier_blocks(encoder, 768)
    | xavier_blocks("decoder", 512)
    | {
      f"^{encoder}/backbone/embedding/kernel$": xavier(768, 768),
      f"^{encoder}/backbone/embedding/bias$": torch(768),
      "^decoder/backbone/(embedding|head)/kernel$": xavier(768, 512),
      "/(cls|mask_token|mix_embedding)$": 0.02,
    }
    | NORMS
  )


# Of the first block: the divisor of the kernels that write to the residual stream is sqrt(2).
BEIT_START = {
  "/(out|Dense_1)/kernel$": BEIT / 2**0.5,
  "/backbone/.*kernel$": BEIT,
  "/(cls|mask_token)$": BEIT,
  "/relative_position_bias$": 0.0,
}
NORMAL = {"kernel$|/(cls|cls_position|pos_embedding|mask_token)$": 0.02}
COSINE_DECAY = (0.04, 0.4)

FACTS = dict(
  mae=Facts(
    source="facebookresearch/mae: PRETRAIN.md, main_pretrain.py, models_mae.py; timm optim_factory.add_weight_decay",
    decayed="/(kernel|cls|mask_token)$",
    start=mae_start(),
    crops=dict(v=(224, (0.2, 1.0), "bicubic")),
    schedules={"optim.lr": (0.0, 0.0), "optim.weight_decay": (0.05, 0.05)},
    optim=dict(name="adamw", b1=0.9, b2=0.95, clip=None),
  ),
  cmae=Facts(
    source="ZhichengHuang/CMAE: configs/pre-training/cmae/cmae_vit-base-p16_32xb128-coslr-1600e_in1k.py, "
    "cmae/models/{algorithms/cmae,heads/cmae_head,backbones/cmae_vit,necks/mae_neck,necks/nonlinear_neck}.py, "
    "cmae/datasets/cmae_dataset.py",
    decayed="/(kernel|batch_norm_0/scale)$",
    start={"^(projector|predictor)/.*/dense_[01]/": lambda kernel: torch(kernel[0])}
    | xavier_blocks("features", 512)
    | {"^features/backbone/(embedding|head)/kernel$": xavier(768, 512)}
    | mae_start("student"),
    crops=dict(windows=(224, (0.2, 1.0), "bicubic")),
    schedules={
      "optim.lr": (0.0, 0.0),
      "optim.weight_decay": (0.05, 0.05),
      "networks.teacher.decay": (0.996, 0.996),
      "networks.teacher_projector.decay": (0.996, 0.996),
    },
    optim=dict(name="adamw", b1=0.9, b2=0.95, clip=None),
    numbers=dict(
      windows=dict(shift=31, flip=0.5),
      v=dict(jitter=None, grayscale=0.0, blur=0.0),
      w=dict(jitter=(0.4, 0.4, 0.4, 0.1), jitter_prob=0.8, grayscale=0.2, blur=0.5, blur_sigma=(0.1, 2.0), solarize=0.0),
    ),
    networks={"features.depth": 2, "projector.hidden": 1536, "predictor.hidden": 1536, "teacher_projector.ema": "projector"},
  ),
  mff=Facts(
    source="open-mmlab/mmpretrain: configs/mff/mff_vit-base-p16_8xb512-amp-coslr-800e_in1k.py and what it is made of, "
    "mmpretrain/models/selfsup/{mff,mae}.py; the crops are MAE's",
    decayed="/(kernel|readout_weights)$",
    start={"/readout_weights$": 1.0, "/readout_[0-9]+/kernel$": xavier(768, 768)} | mae_start(),
    crops=dict(v=(224, (0.2, 1.0), "bicubic")),
    schedules={"optim.lr": (0.0, 0.0), "optim.weight_decay": (0.05, 0.05)},
    optim=dict(name="adamw", b1=0.9, b2=0.95, clip=None),
    networks={"encoder.readout": (1, 3, 5, 7, 9, 12)},
  ),
  simmim=Facts(
    source="microsoft/SimMIM: configs/vit_base__800ep, config.py, main_simmim.py, optimizer.py, data/data_simmim.py, "
    "models/{simmim,vision_transformer}.py",
    decayed="/(kernel|mask_token|relative_position_bias)$",
    start={"/layer_scale_.$": 0.1, "^encoder/heads_pixels/pixels/": torch(768)} | BEIT_START | NORMS,
    crops=dict(v=(224, (0.67, 1.0), "bilinear")),
    schedules={"optim.lr": (5e-7 * 4, 1e-4 * 4 * 0.1), "optim.weight_decay": (0.05, 0.05)},
    optim=dict(name="adamw", b2=0.999, clip=dict(global_norm=5.0)),
  ),
  beit=Facts(
    source="microsoft/unilm beit: README.md, run_beit_pretraining.py, modeling_pretrain.py, optim_factory.py, datasets.py",
    decayed="/(kernel|mask_token|relative_position_bias)$",
    start={"/layer_scale_.$": 0.1, "^encoder/heads_words/.*kernel$": BEIT} | BEIT_START | NORMS,
    crops=dict(v=(224, (0.08, 1.0), "bicubic")),
    schedules={"optim.lr": (0.0, 1e-5), "optim.weight_decay": (0.05, 0.05)},
    optim=dict(name="adamw", b2=0.999, clip=dict(global_norm=3.0)),
  ),
  beit_v2=Facts(
    source="microsoft/unilm beit2: PRETRAINING.md, run_beitv2_pretraining.py, modeling_pretrain.py "
    "(beit_base_patch16_224_8k_vocab_cls_pt), optim_factory.py, datasets.py",
    decayed="/(kernel|mask_token|relative_position_bias)$",
    start={
      "/layer_scale_.$": 0.1,
      "/readout_0/.*(out|Dense_1)/kernel$": BEIT / 2,  # here blocks 2 and 3
      "/readout_1/.*(out|Dense_1)/kernel$": BEIT / 6**0.5,
    }
    | BEIT_START
    | NORMS,
    crops=dict(v=(224, (0.2, 1.0), "bicubic")),
    schedules={"optim.lr": (0.0, 1e-5), "optim.weight_decay": (0.05, 0.05)},
    optim=dict(name="adamw", b2=0.999, clip=dict(global_norm=3.0)),
    networks={"encoder.readout": (9,), "encoder.readout_depth": 2, "encoder.drop_path": 0.1, "words.output": 8192},
  ),
  data2vec=Facts(
    source="facebookresearch/data2vec_vision beit: README.md, run_cyclical.py, modeling_cyclical.py, optim_factory.py",
    decayed="/(kernel|mask_token|relative_position_bias)$",
    start={"/layer_scale_.$": 1e-4, "^student/heads_prediction/.*kernel$": BEIT} | BEIT_START | NORMS,
    crops=dict(v=(224, (0.08, 1.0), "bicubic")),
    schedules={"optim.lr": (0.0, 1e-5), "optim.weight_decay": (0.05, 0.05), "networks.teacher.decay": (0.9998, 0.9998)},
    optim=dict(name="adamw", b2=0.999, clip=dict(global_norm=3.0)),
  ),
  maskfeat=Facts(
    source="facebookresearch/SlowFast: configs/masked_ssl/in1k_VIT_B_MaskFeat_PT.yaml, slowfast/config/defaults.py, "
    "slowfast/models/{masked,video_model_builder,head_helper,optimizer}.py, slowfast/datasets/imagenet.py",
    decayed="/(kernel|cls|cls_position|pos_embedding|mask_token)$",
    start={"/embedding/bias$": torch(768), "/encoderblock_./.*bias$": 0.02} | NORMAL | NORMS,
    crops=dict(v=(224, (0.5, 1.0), "bicubic")),
    schedules={"optim.lr": (8 * 1e-6, 8 * 1e-6), "optim.weight_decay": (0.05, 0.05)},
    optim=dict(name="adamw", b2=0.999, clip=dict(global_norm=0.02)),
  ),
  ijepa=Facts(
    source="facebookresearch/ijepa: configs/in1k_vith14_ep300.yaml, src/helper.py (which initialises Linear layers again), "
    "src/transforms.py, src/models/vision_transformer.py, src/utils/schedulers.py",
    decayed="/(kernel|mask_token)$",
    start=NORMAL | NORMS,
    crops=dict(v=(224, (0.3, 1.0), "bilinear")),
    schedules={"optim.lr": (2e-4, 1e-6), "optim.weight_decay": COSINE_DECAY, "networks.teacher.decay": (0.996, 1.0)},
    optim=dict(name="adamw", b2=0.999, clip=None),
  ),
  mixmim=Facts(
    source="Sense-X/MixMIM: exp/base_600ep/pretrain.sh, main_pretrain.py; the plain ViT is ours, and starts as MAE's",
    decayed="/(kernel|mask_token|mix_embedding)$",
    start=mae_start(),
    crops=dict(v=(224, (0.2, 1.0), "bicubic")),
    schedules={"optim.lr": (0.0, 0.0), "optim.weight_decay": (0.05, 0.05)},
    optim=dict(name="adamw", b2=0.95, clip=None),
  ),
  gmml=Facts(
    source="Sara-Ahmed/GMML: main.py, vision_transformer.py, utils.py, datasets/datasets_utils.py",
    decayed="/(kernel|cls|cls_position|pos_embedding)$",
    start={"/embedding/": torch(768), "^student/heads_pixels/pixels/": torch(768)} | NORMAL | NORMS,
    crops={v: (224, (0.05, 1.0), "bicubic") for v in ("a", "b")},
    schedules={"optim.lr": (0.0, 1e-6), "optim.weight_decay": COSINE_DECAY},
    optim=dict(
      name="adamw", b2=0.999, clip=dict(per_tensor=3.0, joint="/(query|key|value)/|/(cls_position|pos_embedding)$")
    ),
  ),
)
