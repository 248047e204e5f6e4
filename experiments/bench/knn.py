"""DINO's kNN: the weighted vote of each query's nearest neighbours, jssl's against one in PyTorch.

Features are random points around the center of their class, float32 in the host's memory, from where both sides take
them; a call ends with the accuracy for each k on the host. The PyTorch side is facebookresearch/dino's eval_knn.py (a
product with the whole bank for a chunk of queries, `topk`, votes weighted by exp(cosine / 0.07)), made faster where that
is easy: one product and one `topk` serve every k, and votes are added up by class, without DINO's one-hot array
`[queries, k, classes]`. Products are float32 on both sides, without TF32.
"""

import numpy as np
from turns import Work

CASES = {
  "k = 20": dict(
    cpu=dict(queries=2000, bank=50_000, classes=100, ks=(20,)),
    gpu=dict(queries=50_000, bank=1_281_167, classes=1000, ks=(20,)),
  ),
  "k = 10, 20, 100, 200": dict(
    cpu=dict(queries=2000, bank=50_000, classes=100, ks=(10, 20, 100, 200)),
    gpu=dict(queries=50_000, bank=1_281_167, classes=1000, ks=(10, 20, 100, 200)),
  ),
}
DIM = 384  # of a ViT-S
TEMPERATURE = 0.07
CHUNK = 256  # queries at once, jssl's default; DINO's hundredth of ImageNet's queries is 500
SPREAD = 5.0  # of a class, where its center has 1: some votes go wrong


def make_features(queries: int, bank: int, classes: int):
  """Returns `(bank, labels, queries, labels)`: `[n, 384]` float32 and `[n]` int32."""
  rng = np.random.default_rng(0)
  centers = rng.standard_normal((classes, DIM), np.float32)

  def draw(n):
    labels = rng.integers(0, classes, n, dtype=np.int32)
    features = rng.standard_normal((n, DIM), np.float32)
    features *= SPREAD
    features += centers[labels]
    return features, labels

  return *draw(bank), *draw(queries)


def jssl_accuracy(features, *, classes: int, ks: tuple[int, ...]) -> list[float]:
  from jssl.evaluation.knn import knn_accuracy  # pylint: disable=g-import-not-at-top

  found = knn_accuracy(*features, k=ks, temperature=TEMPERATURE, num_classes=classes, chunk=CHUNK)
  return [found["metrics"][f"k{k}"] for k in ks]


def torch_accuracy(features, *, classes: int, ks: tuple[int, ...]) -> list[float]:
  """The same in PyTorch, on a GPU where there is one."""
  import torch  # pylint: disable=g-import-not-at-top

  device = "cuda" if torch.cuda.is_available() else "cpu"
  with torch.inference_mode():
    bank, bank_labels, queries, labels = (torch.from_numpy(x).to(device) for x in features)
    bank, queries = (torch.nn.functional.normalize(x, dim=1) for x in (bank, queries))
    bank_labels, labels = bank_labels.long(), labels.long()
    correct = torch.zeros(len(ks), dtype=torch.int64, device=device)
    for q, target in zip(queries.split(CHUNK), labels.split(CHUNK), strict=True):
      nearest, index = (q @ bank.T).topk(max(ks), dim=1)
      weight, voted = (nearest / TEMPERATURE).exp_(), bank_labels[index]
      for i, k in enumerate(ks):
        votes = torch.zeros(len(q), classes, device=device).scatter_add_(1, voted[:, :k], weight[:, :k])
        correct[i] += (votes.argmax(1) == target).sum()
    return (correct / len(queries)).tolist()


def _side(accuracy):
  def build(case: str, *, queries: int, bank: int, classes: int, ks: tuple[int, ...]) -> Work:
    del case
    features = make_features(queries, bank, classes)
    return Work(lambda: accuracy(features, classes=classes, ks=ks), queries)

  return build


def torch_side(case: str, **numbers) -> Work:
  """As `_side`; takes its threads from the cores that there are.

  Raises:
    ImportError: if torch is not installed.
  """
  return _side(torch_accuracy)(case, **numbers)


SIDES = {"jssl": _side(jssl_accuracy), "torch": torch_side}


def check(case: str, *, queries: int, bank: int, classes: int, ks: tuple[int, ...]) -> None:
  """Asserts, on some of the features, that the accuracies agree; rounding may change one query in five hundred."""
  features = make_features(min(queries, 1000), min(bank, 20_000), classes)
  ours, theirs = (f(features, classes=classes, ks=ks) for f in (jssl_accuracy, torch_accuracy))
  shown = ", ".join(f"{a:.4f} and {b:.4f}" for a, b in zip(ours, theirs, strict=True))
  print(f"{case}: same accuracies: {shown}")
  assert np.abs(np.subtract(ours, theirs)).max() <= 2e-3
