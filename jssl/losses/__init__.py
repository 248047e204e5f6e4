"""Losses: pure functions of arrays, `loss(*arrays, *, numbers) -> (scalar, metrics)`."""

from jssl.losses.contrastive import info_nce_loss, nt_xent_loss
from jssl.losses.decorrelation import barlow_twins_loss, vicreg_loss
from jssl.losses.distillation import dino_loss, patch_distillation_loss
from jssl.losses.reconstruction import mae_loss, masked_l1_loss, masked_mse_loss, smooth_l1_loss
from jssl.losses.similarity import negative_cosine_loss
from jssl.losses.supervised import softmax_cross_entropy_loss

__all__ = [
    "barlow_twins_loss", "dino_loss", "info_nce_loss", "mae_loss", "masked_l1_loss", "masked_mse_loss",
    "negative_cosine_loss", "nt_xent_loss", "patch_distillation_loss", "smooth_l1_loss", "softmax_cross_entropy_loss",
    "vicreg_loss",
]
