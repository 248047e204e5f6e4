"""DINO's loss between views, the patch loss of iBOT and MC-SSL, MSN's loss of many views against one."""

import jax.numpy as jnp
from loss_checks import check_loss, finite, log_softmax, normals, uncoupled
import numpy as np
import pytest

from jssl.config import load_config
from jssl.losses import dino_loss, patch_distillation_loss, prototype_loss
from jssl.targets import match_tokens


def softmax(x):
  return np.exp(log_softmax(x))


def cross_entropy(probs, logits, temp):
  return -(probs * log_softmax(logits / temp)).sum(-1)


def test_dino_over_all_pairs_but_the_same_view():
  views = normals(*[(4, 5)] * 4)
  teachers = [softmax(x) for x in normals((4, 5), (4, 5), seed=1)]

  def reference(*arrays):
    students, targets = arrays[:4], arrays[4:]
    pairs = [(u, v) for u in range(2) for v in range(4) if u != v]
    return sum(cross_entropy(targets[u], students[v], 0.5).mean() for u, v in pairs) / 6

  loss = lambda *arrays: dino_loss(arrays[:4], arrays[4:], student_temp=0.5)
  check_loss(uncoupled(loss), reference, [*views, *teachers])


def test_dino_metrics():
  one_hot = np.eye(8)[:4]
  _, metrics = dino_loss([jnp.zeros((4, 8))] * 3, [jnp.asarray(one_hot)] * 2)
  np.testing.assert_allclose([metrics["teacher_entropy"], metrics["kl"]], [0, np.log(8)], atol=1e-6)
  logits = normals((4, 8))[0].astype(np.float32)
  probs = jnp.asarray(softmax(logits / 0.1))
  loss, metrics = dino_loss([logits] * 3, [probs] * 2)
  entropy = -(probs * np.log(probs)).sum(-1).mean()
  np.testing.assert_allclose(metrics["kl"], 0, atol=1e-6)
  np.testing.assert_allclose([loss, metrics["teacher_entropy"]], [entropy, entropy / np.log(8)], rtol=1e-4)


def test_a_uniform_teacher_gives_log_k():
  uniform = jnp.full((3, 16), 1 / 16)
  loss, metrics = dino_loss([jnp.zeros((3, 16))] * 2, [uniform] * 2)
  np.testing.assert_allclose([loss, metrics["teacher_entropy"], metrics["kl"]], [np.log(16), 1, 0], atol=1e-5)


def test_dino_needs_a_pair():
  with pytest.raises(ValueError, match="no pair"):
    dino_loss([jnp.zeros((2, 3))], [jnp.zeros((2, 3))])


def test_patch_loss_at_all_positions_of_several_views():
  a, b = normals((4, 3, 5), (4, 3, 5))
  t, u = (softmax(x) for x in normals((4, 3, 5), (4, 3, 5), seed=1))
  reference = lambda a, b, t, u: (cross_entropy(t, a, 0.5).mean() + cross_entropy(u, b, 0.5).mean()) / 2
  loss = lambda a, b, t, u: patch_distillation_loss([a, b], [t, u], student_temp=0.5)
  check_loss(uncoupled(loss), reference, [a, b, t, u])


def test_patch_loss_at_hidden_positions_is_a_mean_of_images():
  s, t = normals((4, 3, 5))[0], softmax(normals((4, 3, 5), seed=1)[0])
  mask = np.array([[1, 0, 0], [1, 1, 1], [0, 0, 0], [0, 1, 1]], bool)  # the third image hides nothing

  def reference(s, t, mask):
    losses = cross_entropy(t, s, 0.5)
    return sum(losses[b][mask[b]].mean() for b in (0, 1, 3)) / 4

  loss = uncoupled(lambda *x: patch_distillation_loss(*x, student_temp=0.5))
  check_loss(loss, reference, [s, t, mask], moving=(0, 1))


def test_patches_may_follow_the_class_token():
  s, t = normals((4, 3, 5))[0], softmax(normals((4, 5), seed=1)[0])
  reference = lambda s, t: cross_entropy(t[:, None], s, 0.5).mean()
  check_loss(uncoupled(lambda *x: patch_distillation_loss(*x, student_temp=0.5)), reference, [s, t])
  broadcast = np.broadcast_to(t[:, None], s.shape)
  for mask in (None, np.eye(4, 3) > 0):
    got, want = (patch_distillation_loss(jnp.asarray(s), jnp.asarray(x), mask) for x in (t, broadcast))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    for name in want[1]:
      np.testing.assert_allclose(got[1][name], want[1][name], rtol=1e-5)


@pytest.mark.slow
def test_esvits_losses_over_its_own_pairs():
  """Half of DINO's loss, and half of that of each region and the teacher's most similar one, as the config reads them."""
  config, large, views = load_config("esvit:demo"), ("a", "b"), ("a", "b", "l1", "l2")
  places = [3, 3, 1, 1]  # regions of each view
  names = [
    *[(f"s_{v}/logits", (4, 3)) for v in views],
    *[(f"s_{v}/region", (4, n, 3)) for v, n in zip(views, places, strict=True)],
    *[(f"s_{v}/patch_tokens", (4, n, 3)) for v, n in zip(views, places, strict=True)],
    *[(f"t_{v}/patch_tokens", (4, 3, 3)) for v in large],
    *[(f"y/{u}", (4, 3)) for u in range(2)],
    *[(f"y_region/{u}", (4, 3, 3)) for u in range(2)],
  ]
  arrays = [softmax(x) if name[0] == "y" else x for (name, _), x in zip(names, normals(*[s for _, s in names]), strict=True)]
  named = lambda arrays: {name: x for (name, _), x in zip(names, arrays, strict=True)}
  norm = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)

  def reference(*arrays):
    env, losses = named(arrays), []
    for u, v in [(u, v) for u in range(2) for v in range(4) if u != v]:
      best = np.einsum("bid,bjd->bij", norm(env[f"s_{views[v]}/patch_tokens"]), norm(env[f"t_{large[u]}/patch_tokens"]))
      matched = np.stack([env[f"y_region/{u}"][b][best[b].argmax(-1)] for b in range(4)])
      whole = cross_entropy(env[f"y/{u}"], env[f"s_{views[v]}/logits"], 0.1)
      losses.append(0.5 * whole.mean() + 0.5 * cross_entropy(matched, env[f"s_{views[v]}/region"], 0.1).mean(-1).mean())
    return sum(losses) / 6

  def loss(*arrays):
    env = named(arrays)
    read = lambda entry: [[env[name] for name in r] if isinstance(r, tuple) else env[r] for r in entry.reads]
    env |= {name: match_tokens(*read(entry)) for name, entry in config.targets.items() if name.startswith("match_")}
    whole, regions = config.losses.dino, config.losses.region
    terms = [
      whole.weight * dino_loss(*read(whole), student_temp=whole.student_temp)[0],
      regions.weight * patch_distillation_loss(*read(regions), student_temp=regions.student_temp)[0],
    ]
    return sum(terms), {}

  check_loss(uncoupled(loss), reference, arrays, moving=range(8))


def test_views_that_share_one_target():
  views, target = normals(*[(4, 5)] * 3), softmax(normals((4, 5), seed=1)[0])
  reference = lambda a, b, c, t: sum(cross_entropy(t, s, 0.5).mean() for s in (a, b, c)) / 3
  loss = lambda a, b, c, t: prototype_loss([a, b, c], t, student_temp=0.5)
  check_loss(uncoupled(loss), reference, [*views, target])
  one, metrics = prototype_loss(jnp.zeros((3, 16)), jnp.full((3, 16), 1 / 16))
  np.testing.assert_allclose([one, metrics["teacher_entropy"], metrics["kl"]], [np.log(16), 1, 0], atol=1e-5)


def test_degenerate_inputs():
  zeros, one_hot = jnp.zeros((1, 2, 4)), jnp.eye(4)[None, :2]
  hidden = jnp.zeros((1, 2), bool)
  finite(uncoupled(lambda s, t: patch_distillation_loss(s, t)), [1e4 * one_hot, one_hot])
  finite(uncoupled(lambda s, t: patch_distillation_loss(s, t, hidden)), [zeros, one_hot])
  finite(uncoupled(lambda s, t: dino_loss([s, s], [t, t])), [1e4 * one_hot[0, :1], zeros[0, :1]])
  finite(uncoupled(prototype_loss), [1e4 * one_hot[0, :1], zeros[0, :1]])


def test_views_must_come_in_equal_numbers():
  with pytest.raises(ValueError, match="2 student views, 1 teacher views"):
    patch_distillation_loss([jnp.zeros((1, 2, 4))] * 2, jnp.zeros((1, 2, 4)))
