"""Sources made of sources: which examples there are, what they are labelled, what is done to their images.

Each function is `fn(source, **numbers) -> Source`; it reads labels when it is called, and images when they are read, so a
streamed source stays one. A config names them in the order in which they apply:

    data = dict(name="derived", options=dict(
      of=dict(name="fashion_mnist"), by=(dict(fn="long_tail", factor=100), dict(fn="fraction", share=0.1))))

Every draw depends on `seed`, the function and the number of the example alone, and a smaller share is part of a larger one.
"""

from jssl.data.algebra.examples import concatenate, fraction, hold_out, keep_classes, long_tail, tasks
from jssl.data.algebra.images import corrupt, poison, styled
from jssl.data.algebra.labels import merge_labels, multi_labels, relabelled

__all__ = [
  "concatenate",
  "corrupt",
  "fraction",
  "hold_out",
  "keep_classes",
  "long_tail",
  "merge_labels",
  "multi_labels",
  "poison",
  "relabelled",
  "styled",
  "tasks",
]
