"""Transferability: which of several networks is best fine-tuned on a labelled set, told without fine-tuning any.

A score is a function of a network's features of the target's images (or of its source classes' probabilities) and of their
labels, in float64 on the host; higher is better. What a score is worth is told by `weighted_kendall`, against accuracies
after fine-tuning. `potential_energy_descent` moves features before another score looks at them.
"""

from jssl.evaluation.transferability.gbc import gbc_score
from jssl.evaluation.transferability.kendall import weighted_kendall
from jssl.evaluation.transferability.leep import leep_score, nleep_score
from jssl.evaluation.transferability.logme import logme_score
from jssl.evaluation.transferability.parc import parc_score
from jssl.evaluation.transferability.ped import Descent, potential_energy_descent
from jssl.evaluation.transferability.sfda import sfda_score

__all__ = [
  "Descent",
  "gbc_score",
  "leep_score",
  "logme_score",
  "nleep_score",
  "parc_score",
  "potential_energy_descent",
  "sfda_score",
  "weighted_kendall",
]
