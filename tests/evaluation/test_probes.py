"""Classifiers on frozen features: MAE's, DINOv2's, logistic regression, the attentive probe."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jssl.evaluation import (
  attentive_probe,
  cluster_agreement,
  dinov2_linear_probe,
  few_label_accuracy,
  knn_accuracy,
  linear_probe,
  logistic_regression_accuracy,
  mae_linear_probe,
  retrieval_scores,
)
from jssl.evaluation.attentive import _initial, attentive_logits

CENTERS = np.random.default_rng(99).normal(size=(3, 8)) * 2


def blobs(n, seed, spread=0.3, shuffled=False):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 3, n)
  features = CENTERS[labels] + spread * rng.normal(size=(n, 8))
  return features.astype(np.float32), rng.permutation(labels) if shuffled else labels


def stacked(features, labels):
  """Two blocks' class tokens, of which the first knows nothing, and a mean of patches."""
  noise = np.random.default_rng(len(features)).normal(size=features.shape).astype(np.float32)
  return np.stack([noise, features, noise[::-1]], 1), labels


def tokens(features, labels):
  """Patches of which one, at another place in each image, knows the class and says so."""
  rng = np.random.default_rng(len(features))
  x = rng.normal(size=(len(features), 6, 12)).astype(np.float32)
  x[..., 8:] = 0
  place = rng.integers(0, 6, len(features))
  x[np.arange(len(features)), place, :8] = features
  x[np.arange(len(features)), place, 8:] = 4.0
  return x, labels


few = functools.partial(few_label_accuracy, per_class=5, draws=3)
mae = functools.partial(mae_linear_probe, epochs=60, batch_size=50, base_rate=30.0)
dinov2 = functools.partial(dinov2_linear_probe, epochs=10, batch_size=16)
attend = functools.partial(attentive_probe, epochs=15, batch_size=32, learning_rates=(1e-2, 3e-2))
LABELLED = {
  "knn": (functools.partial(knn_accuracy, k=5), None, "k5"),
  "linear": (functools.partial(linear_probe, epochs=20, batch_size=32), None, "accuracy"),
  "few_labels": (few, None, "n5"),
  "linear_mae": (mae, None, "accuracy"),
  "linear_dinov2": (dinov2, stacked, "accuracy"),
  "logistic_regression": (logistic_regression_accuracy, None, "accuracy"),
  "attentive_probe": (attend, tokens, "accuracy"),
}


@pytest.mark.parametrize("name", LABELLED)
def test_classes_that_lie_apart_are_told_apart_and_shuffled_labels_are_at_chance(name):
  score, make, metric = LABELLED[name]
  make = make or (lambda *data: data)
  run = lambda shuffled: score(
    *make(*blobs(400, 0, shuffled=shuffled)), *make(*blobs(300, 1, shuffled=shuffled)), num_classes=3
  )["metrics"][metric]
  assert run(False) > 0.97
  assert run(True) == pytest.approx(1 / 3, abs=0.12)  # the deviation of 300 draws is 0.027, of classes, too


DEGENERATE = [
  ("constant", lambda x, y: (np.ones_like(x), y), "are the same|network has collapsed"),
  ("nan", lambda x, y: (np.where(x > 0, np.nan, x), y), "NaN"),
  ("one class", lambda x, y: (x, np.zeros_like(y)), "of one class|has one class|smallest class"),
  ("one a class", lambda x, y: (x[:3], np.arange(3)), "as with one example a class|are of one class|smallest class"),
]


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("kind, spoil, message", DEGENERATE, ids=[kind for kind, *_ in DEGENERATE])
def test_what_tells_nothing_is_told(name, kind, spoil, message):
  if kind == "one a class" and name in ("knn", "linear_mae") or kind == "one class" and name == "knn":
    pytest.skip("they can be fitted, and the protocol refuses one class")
  score, make, _ = LABELLED[name]
  features, labels = (make or (lambda *data: data))(*blobs(40, 0))
  with pytest.raises(ValueError, match=message):
    score(*spoil(features, labels), features, labels, num_classes=3)


def test_clusters_and_retrieval_refuse_them_too():
  features, labels = blobs(40, 0)
  for spoil in (np.ones_like(features), np.full_like(features, np.nan)):
    with pytest.raises(ValueError, match="are the same|NaN"):
      cluster_agreement(spoil, features, labels, num_classes=3)
    with pytest.raises(ValueError, match="are the same|NaN"):
      retrieval_scores(spoil, labels)
  with pytest.raises(ValueError, match="one class"):
    retrieval_scores(features, np.zeros(40, int))


@pytest.mark.parametrize("score", [linear_probe, logistic_regression_accuracy, dinov2, attend])
def test_the_test_set_chooses_nothing(score):
  make = {dinov2: stacked, attend: tokens}.get(score, lambda *data: data)
  train, (test, labels) = make(*blobs(90, 2, spread=2.5)), make(*blobs(60, 3, spread=2.5))
  runs = [score(*train, test, test_labels, num_classes=3)["metrics"] for test_labels in (labels, (labels + 1) % 3)]
  accuracies = [run.pop("accuracy") for run in runs]
  assert runs[0] == runs[1] and accuracies[0] != accuracies[1]


def test_logistic_regression_is_scikit_learns_with_the_penalty_that_is_best_on_the_held_out_part():
  (train, labels), (test, test_labels) = blobs(200, 4, spread=2.5), blobs(400, 5, spread=2.5)
  found = logistic_regression_accuracy(train, labels, test, test_labels, num_classes=3, penalties=(1e-2, 1.0, 1e4), seed=1)
  order = np.random.default_rng(1).permutation(200)
  choose, fit = order[:40], order[40:]
  scale = lambda part, of: (part - of.mean(0)) / of.std(0)
  fitted = {
    penalty: LogisticRegression(C=1 / penalty, max_iter=1000).fit(scale(train[fit], train[fit]), labels[fit])
    for penalty in (1e-2, 1.0, 1e4)
  }
  held = {p: model.score(scale(train[choose], train[fit]), labels[choose]) for p, model in fitted.items()}
  assert found["by_penalty"] == pytest.approx(held, abs=1 / 40 + 1e-9)  # one example
  best = found["metrics"]["penalty"]
  assert found["by_penalty"][best] == max(found["by_penalty"].values())
  again = LogisticRegression(C=1 / best, max_iter=1000).fit(scale(train, train), labels)
  assert found["metrics"]["accuracy"] == pytest.approx(again.score(scale(test, train), test_labels), abs=0.005)
  assert "stopped_early" not in found["parameters"]
  short = logistic_regression_accuracy(train, labels, test, test_labels, num_classes=3, iterations=1)
  assert short["parameters"]["stopped_early"]


def test_maes_probe_is_the_loop_of_its_code():
  """main_linprobe.py and util/lars.py in NumPy and torch, on batches that hold all examples, in whatever order."""
  torch = pytest.importorskip("torch")
  (train, labels), (test, test_labels) = blobs(60, 6, spread=1.0), blobs(200, 7, spread=1.0)
  epochs, warmup, base_rate = 8, 3, 2.0
  found = mae_linear_probe(
    train, labels, test, test_labels, num_classes=3, epochs=epochs, warmup_epochs=warmup, base_rate=base_rate, batch_size=999
  )
  assert found["parameters"]["lr"] == pytest.approx(base_rate * 60 / 256)
  init = jax.random.split(jax.random.key(0, impl="threefry2x32"))[0]
  from jssl.models import probe_head  # pylint: disable=g-import-not-at-top

  params = probe_head(output=3).init(init, jnp.asarray(train[:1]))["params"]
  leaves = {x.ndim: torch.tensor(np.array(x)) for x in jax.tree.leaves(params)}
  weight, bias = leaves[2].T.clone().requires_grad_(), leaves[1].clone().requires_grad_()
  norm = torch.nn.BatchNorm1d(8, affine=False)
  memory = [torch.zeros_like(weight), torch.zeros_like(bias)]
  for step in range(epochs):
    rate = found["parameters"]["lr"]
    rate *= step / warmup if step < warmup else 0.5 * (1 + np.cos(np.pi * (step - warmup) / (epochs - warmup)))
    logits = norm(torch.tensor(train)) @ weight.T + bias
    gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, torch.tensor(labels)), [weight, bias])
    with torch.no_grad():
      for i, (p, g) in enumerate(zip([weight, bias], gradients, strict=True)):
        if p.ndim > 1:
          g = g * 0.001 * p.norm() / g.norm()
        memory[i] = 0.9 * memory[i] + g
        p -= rate * memory[i]
  norm.eval()
  accuracy = ((norm(torch.tensor(test)) @ weight.T + bias).argmax(1).numpy() == test_labels).mean()
  assert found["metrics"]["accuracy"] == pytest.approx(accuracy, abs=0.0101)  # two examples


def test_dinov2s_probe_joins_blocks_and_pools_and_finds_where_the_class_is():
  data = (*stacked(*blobs(300, 8)), *stacked(*blobs(200, 9)))
  found = dinov2(*data, num_classes=3)
  assert {(one["blocks"], one["pool"]) for one in found["by_classifier"]} == {(1, 0), (1, 1), (2, 0), (2, 1)}
  assert len(found["by_classifier"]) == 4 * 13 and found["parameters"]["blocks"] == (1, 2)
  best = max(found["by_classifier"], key=lambda one: one["held_out_accuracy"])
  assert found["metrics"] == best and best["accuracy"] > 0.9
  # One combination is the linear probe on what it joins, at a rate for 256 examples.
  train, test = (np.concatenate([x[:, 0], x[:, 1], x[:, 2]], 1) for x in (data[0], data[2]))
  numbers = dict(num_classes=3, epochs=10, batch_size=16, standardize=False)
  alone = linear_probe(train, data[1], test, data[3], learning_rates=(0.1 * 16 / 256,), **numbers)
  same = next(one for one in found["by_classifier"] if (one["blocks"], one["pool"], one["lr"]) == (2, 1, 0.1))
  assert same["accuracy"] == alone["metrics"]["accuracy"]


def test_the_attention_is_a_cross_attention_of_one_query():
  params = _initial(jax.random.key(0), 12, 4, 3)
  params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(1), x.shape), params)
  x = jax.random.normal(jax.random.key(2), (5, 6, 12))
  key, value = (jnp.einsum("npd,dhk->nphk", x, params[name]) for name in ("key", "value"))
  query = jnp.broadcast_to(params["query"], (5, 1, 4, 3))
  seen = jax.nn.dot_product_attention(query, key, value)[:, 0].reshape(5, 12)
  np.testing.assert_allclose(attentive_logits(params, x), seen @ params["kernel"] + params["bias"], atol=1e-5)


def test_the_attentive_probe_finds_the_patch_that_knows():
  data = (*tokens(*blobs(400, 10)), *tokens(*blobs(200, 11)))
  found = attend(*data, num_classes=3)["metrics"]["accuracy"]
  mean = linear_probe(data[0].mean(1), data[1], data[2].mean(1), data[3], num_classes=3, epochs=30)["metrics"]["accuracy"]
  assert found > mean + 0.02
  with pytest.raises(ValueError, match="heads=5 must divide the 12"):
    attend(*data, num_classes=3, heads=5)


def test_the_linear_probes_gradient_is_that_of_the_cross_entropy():
  """All rates in one product, against SGD by autograd, one rate at a time."""
  torch = pytest.importorskip("torch")
  from jssl.evaluation.linear import fit_rates  # pylint: disable=g-import-not-at-top

  x, labels = blobs(32, 12, spread=2.0)
  found = fit_rates(
    jnp.array([0.1, 1.0]), jax.random.key(0), x, labels, num_classes=3, epochs=5, batch_size=32, momentum=0.9
  )
  for i, peak in enumerate((0.1, 1.0)):
    weight, bias = torch.zeros(8, 3, requires_grad=True), torch.zeros(3, requires_grad=True)
    sgd = torch.optim.SGD([weight, bias], peak, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 5)
    for _ in range(5):
      sgd.zero_grad()
      torch.nn.functional.cross_entropy(torch.tensor(x) @ weight + bias, torch.tensor(labels)).backward()
      sgd.step()
      schedule.step()
    np.testing.assert_allclose(found["kernel"][:, i], weight.detach(), atol=1e-4)
    np.testing.assert_allclose(found["bias"][i], bias.detach(), atol=1e-4)
