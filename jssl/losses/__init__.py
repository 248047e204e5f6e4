"""Losses: pure functions of arrays, `loss(*arrays, *, numbers) -> (scalar, metrics)`."""

from jssl.losses.adversarial import adversarial_loss
from jssl.losses.clustering import cluster_loss, relational_loss
from jssl.losses.colorization import color_bins_loss
from jssl.losses.contrastive import info_nce_loss, nt_xent_loss, supervised_contrastive_loss
from jssl.losses.covariance import tico_loss
from jssl.losses.decorrelation import barlow_twins_loss, mixed_barlow_twins_loss, vicreg_loss
from jssl.losses.distillation import dino_loss, patch_distillation_loss, prototype_loss
from jssl.losses.gaussianity import sigreg_loss
from jssl.losses.global_contrastive import bimodal_isogclr_loss, isogclr_loss, sogclr_loss
from jssl.losses.gram import gram_loss
from jssl.losses.quantization import quantization_loss
from jssl.losses.queues import queue_info_nce_loss
from jssl.losses.reconstruction import mae_loss, masked_cross_entropy_loss, masked_l1_loss, masked_mse_loss, smooth_l1_loss
from jssl.losses.similarity import negative_cosine_loss, view_center_loss
from jssl.losses.spread import koleo_loss, mean_entropy_loss
from jssl.losses.styles import same_view_nt_xent_loss
from jssl.losses.supervised import soft_cross_entropy_loss, softmax_cross_entropy_loss
from jssl.losses.whitening import w_mse_loss

__all__ = [
  "adversarial_loss",
  "barlow_twins_loss",
  "bimodal_isogclr_loss",
  "cluster_loss",
  "color_bins_loss",
  "dino_loss",
  "gram_loss",
  "info_nce_loss",
  "isogclr_loss",
  "koleo_loss",
  "mae_loss",
  "masked_cross_entropy_loss",
  "masked_l1_loss",
  "masked_mse_loss",
  "mean_entropy_loss",
  "mixed_barlow_twins_loss",
  "negative_cosine_loss",
  "nt_xent_loss",
  "patch_distillation_loss",
  "prototype_loss",
  "quantization_loss",
  "queue_info_nce_loss",
  "relational_loss",
  "same_view_nt_xent_loss",
  "sigreg_loss",
  "smooth_l1_loss",
  "soft_cross_entropy_loss",
  "softmax_cross_entropy_loss",
  "sogclr_loss",
  "supervised_contrastive_loss",
  "tico_loss",
  "vicreg_loss",
  "view_center_loss",
  "w_mse_loss",
]
