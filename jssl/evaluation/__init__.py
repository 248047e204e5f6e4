"""Evaluation of frozen features: pure functions of arrays, and the named protocols that put them together."""

from jssl.evaluation import transferability
from jssl.evaluation.attention_segmentation import attention_iou
from jssl.evaluation.attentive import attentive_probe
from jssl.evaluation.baselines import foreground_model, position_model, raw_pixel_model
from jssl.evaluation.clusters import cluster_agreement
from jssl.evaluation.copy_detection import copy_detection_scores
from jssl.evaluation.domains import domain_purity
from jssl.evaluation.features import channel_statistics, raw_pixel_patches, raw_pixels
from jssl.evaluation.few_labels import few_label_accuracy
from jssl.evaluation.knn import knn_accuracy
from jssl.evaluation.lidar import alignment, lidar_score
from jssl.evaluation.linear import linear_probe
from jssl.evaluation.linear_recipes import dinov2_linear_probe, mae_linear_probe
from jssl.evaluation.linear_segmentation import linear_segmentation
from jssl.evaluation.logistic import logistic_regression_accuracy
from jssl.evaluation.mask_propagation import propagate_masks, propagation_scores
from jssl.evaluation.model import FeatureModel
from jssl.evaluation.neighbour_segmentation import neighbour_segmentation
from jssl.evaluation.object_similarity import object_overlap
from jssl.evaluation.prompt_segmentation import prompt_iou, prompt_scores
from jssl.evaluation.protocols import PROTOCOLS, run_protocols, supported_protocols
from jssl.evaluation.protocols.protocol import Protocol
from jssl.evaluation.rankme import effective_rank, rankme_score
from jssl.evaluation.retrieval import retrieval_scores
from jssl.evaluation.similarity import (
  constant_similarity,
  cosine_similarity,
  patch_positions,
  position_similarity,
  precomputed_similarity,
)
from jssl.evaluation.spectrum import alpha_req, participation_ratio, spectrum_scores, uniformity
from jssl.evaluation.spelling import parse_protocols
from jssl.evaluation.splits import EvaluationData
from jssl.evaluation.stream import collect
from jssl.evaluation.tables import Evaluation, format_table
from jssl.evaluation.view import View

__all__ = [
  "PROTOCOLS",
  "Evaluation",
  "EvaluationData",
  "FeatureModel",
  "Protocol",
  "View",
  "alignment",
  "alpha_req",
  "attentive_probe",
  "attention_iou",
  "channel_statistics",
  "cluster_agreement",
  "collect",
  "constant_similarity",
  "copy_detection_scores",
  "cosine_similarity",
  "dinov2_linear_probe",
  "domain_purity",
  "effective_rank",
  "few_label_accuracy",
  "foreground_model",
  "format_table",
  "knn_accuracy",
  "lidar_score",
  "linear_probe",
  "logistic_regression_accuracy",
  "mae_linear_probe",
  "linear_segmentation",
  "neighbour_segmentation",
  "object_overlap",
  "parse_protocols",
  "participation_ratio",
  "patch_positions",
  "position_model",
  "position_similarity",
  "precomputed_similarity",
  "prompt_iou",
  "prompt_scores",
  "rankme_score",
  "propagate_masks",
  "propagation_scores",
  "raw_pixel_model",
  "raw_pixel_patches",
  "raw_pixels",
  "retrieval_scores",
  "run_protocols",
  "spectrum_scores",
  "supported_protocols",
  "transferability",
  "uniformity",
]
