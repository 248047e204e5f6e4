"""Every public loss refuses, by name, arrays of another shape or kind and numbers out of range."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import losses
from jssl.checks import check_arrays, check_values
from jssl.stateful import Stateful

BATCH, PATCHES, DIM = 4, 3, 8
KEY = jax.random.key(0)


def floats(*shape):
  return jnp.asarray(np.random.default_rng(0).uniform(0.1, 1, shape), jnp.float32)


def integers(*shape):
  return jnp.arange(np.prod(shape), dtype=jnp.int32).reshape(shape) % 2


Z, TOKENS = floats(BATCH, DIM), floats(BATCH, PATCHES, DIM)
INDEX, MASK = integers(BATCH), integers(BATCH, PATCHES).astype(bool)
COLORS = dict(index=integers(BATCH, PATCHES, 2, 3), weight=floats(BATCH, PATCHES, 2, 3))
PAIR = dict(a=Z, b=Z)
PREDICTION = dict(prediction=TOKENS, target=TOKENS, mask=MASK)

# loss -> its arrays, and the numbers that it needs.
GOOD = {
  "adversarial_loss": (dict(logits=floats(BATCH)), dict(real=True)),
  "barlow_twins_loss": (PAIR, dict(lambd=0.1)),
  "bimodal_isogclr_loss": (dict(image=Z, text=Z, index=INDEX), dict(num_examples=9)),
  "cluster_loss": (dict(embeddings=Z, labels=integers(BATCH, 2), centroids=floats(2, 5, DIM)), {}),
  "color_bins_loss": (dict(logits=floats(BATCH, PATCHES, 12), **COLORS), {}),
  "dino_loss": (dict(student_logits=[Z, Z, Z], teacher_probs=[Z, Z]), {}),
  "gram_loss": (dict(student=TOKENS, teacher=TOKENS), {}),
  "info_nce_loss": (dict(query=Z, key=Z), dict(temperature=0.1)),
  "isogclr_loss": (dict(**PAIR, index=INDEX), dict(num_examples=9)),
  "koleo_loss": (dict(embeddings=Z), {}),
  "mae_loss": (PREDICTION, {}),
  "masked_cross_entropy_loss": (dict(logits=TOKENS, codes=integers(BATCH, PATCHES), mask=MASK), {}),
  "masked_l1_loss": (PREDICTION, {}),
  "masked_mse_loss": (PREDICTION, {}),
  "mean_entropy_loss": (dict(logits=[Z, Z]), {}),
  "mixed_barlow_twins_loss": (dict(**PAIR, mix=Z, lam=floats(BATCH), perm=INDEX), {}),
  "negative_cosine_loss": (dict(prediction=Z, target=Z), {}),
  "nt_xent_loss": (PAIR, dict(temperature=0.1)),
  "patch_distillation_loss": (dict(student_logits=TOKENS, teacher_probs=TOKENS, mask=MASK), {}),
  "prototype_loss": (dict(student_logits=[Z, Z], teacher_probs=Z), {}),
  "quantization_loss": (dict(latents=TOKENS, entries=TOKENS), {}),
  "queue_info_nce_loss": (dict(query=Z, key=Z, joining=Z), dict(temperature=0.1, size=16)),
  "relational_loss": (dict(student=Z, teacher=Z), dict(size=16)),
  "same_view_nt_xent_loss": (dict(views=[Z, Z]), dict(temperature=0.1)),
  "sigreg_loss": (dict(views=[Z, Z]), dict(slices=8)),
  "smooth_l1_loss": (PREDICTION, {}),
  "soft_cross_entropy_loss": (dict(logits=Z, probabilities=Z), {}),
  "softmax_cross_entropy_loss": (dict(logits=Z, labels=INDEX), {}),
  "sogclr_loss": (dict(**PAIR, index=INDEX), dict(num_examples=9)),
  "supervised_contrastive_loss": (dict(embeddings=[Z, Z], label=INDEX), dict(temperature=0.1)),
  "tico_loss": (PAIR, {}),
  "vicreg_loss": (PAIR, {}),
  "view_center_loss": (dict(views=[Z, Z], anchors=[Z, Z]), {}),
  "w_mse_loss": (dict(views=[Z, Z]), dict(subbatch=BATCH)),
}

# What a loss takes although it looks like a slip.
ALLOWED = {
  **{("adversarial_loss", "logits", how): "any number of images" for how in ("one row", "a row less")},
  ("mean_entropy_loss", "logits", "an axis more"): "patches are averaged too",
  ("masked_l1_loss", "mask", "an axis less"): "one mask an image",
  ("masked_mse_loss", "mask", "an axis less"): "one mask an image",
  ("smooth_l1_loss", "mask", "an axis less"): "one mask an image",
  **{
    (name, "logits", how): "the classes are as many as they are"
    for name in ("masked_cross_entropy_loss", "softmax_cross_entropy_loss")
    for how in ("one column", "a column less")
  },
  **{
    ("gram_loss", argument, how): "a teacher of another width"
    for argument in ("student", "teacher")
    for how in ("one column", "a column less")
  },
  ("queue_info_nce_loss", "query", "an axis more"): "one position",
  ("queue_info_nce_loss", "key", "an axis more"): "one position",
  ("queue_info_nce_loss", "joining", "an axis more"): "one position",
}


def run(name, arrays, numbers):
  """Calls a loss as the engine does: a `Stateful` with a state that fits the good arguments."""
  fn, arrays = getattr(losses, name), list(arrays.values())
  given = dict(rng=KEY, **numbers)
  pick = lambda f: {k: v for k, v in given.items() if k in inspect.signature(f).parameters}
  if not isinstance(fn, Stateful):
    return fn(*arrays, **pick(fn))
  state = fn.init(*GOOD[name][0].values(), **pick(fn.init))
  return fn.apply(state, *arrays, **pick(fn.apply))[0]


def slips(x):
  """Arrays that are nearly `x`, by what is wrong with them."""
  several = isinstance(x, list)
  array = x[-1] if several else x
  wrong = {
    "an axis less": array[..., 0],
    "an axis more": array[:, None],
    "one row": array[:1],
    "a row less": array[:-1],
    "no rows": array[:0],
    "another kind": array.astype(jnp.float32 if array.dtype == jnp.int32 else jnp.int32),
  }
  if array.ndim > 1:
    wrong["one column"] = array[..., :1]
    wrong["a column less"] = array[..., :-1]
  wrong = {how: [*x[:-1], y] if several else y for how, y in wrong.items()}
  wrong["numbers, not arrays"] = [[0.5]] if several else [0.5]
  if several:
    wrong["no view"] = []
  return wrong


def test_the_table_holds_every_loss():
  assert sorted(GOOD) == sorted(losses.__all__)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_arrays(name):
  arrays, numbers = GOOD[name]
  value, _ = jax.eval_shape(functools.partial(run, name, arrays, numbers))
  assert value.shape == ()
  for argument, x in arrays.items():
    for how, wrong in slips(x).items():
      alone = name == "koleo_loss" and how in ("one row", "a row less", "one column", "a column less")
      if alone or (name, argument, how) in ALLOWED:
        continue
      call = functools.partial(run, name, {**arrays, argument: wrong}, numbers)
      with pytest.raises(ValueError) as error:
        jax.eval_shape(call)
        pytest.fail(f"{name} takes {argument} with {how}")
      message = str(error.value)
      assert message.startswith(f"{name}: ") and argument in message and "\n" not in message, (how, message)


BAD_NUMBERS = {
  "barlow_twins_loss": ("lambd", "eps"),
  "bimodal_isogclr_loss": ("gamma", "rho", "eta", "beta", "clip", "temperature_range"),
  "cluster_loss": ("temperature",),
  "color_bins_loss": ("uniform", "momentum"),
  "dino_loss": ("student_temp",),
  "info_nce_loss": ("temperature",),
  "isogclr_loss": ("gamma", "rho", "eta", "beta", "clip", "temperature_range"),
  "koleo_loss": ("eps",),
  "mean_entropy_loss": ("temp",),
  "mixed_barlow_twins_loss": ("eps",),
  "nt_xent_loss": ("temperature",),
  "patch_distillation_loss": ("student_temp",),
  "prototype_loss": ("student_temp",),
  "quantization_loss": ("commitment",),
  "queue_info_nce_loss": ("temperature",),
  "relational_loss": ("student_temp", "teacher_temp"),
  "same_view_nt_xent_loss": ("temperature",),
  "sigreg_loss": ("slices", "knots", "t_max"),
  "smooth_l1_loss": ("beta",),
  "softmax_cross_entropy_loss": ("label_smoothing",),
  "sogclr_loss": ("temperature", "gamma"),
  "supervised_contrastive_loss": ("temperature",),
  "tico_loss": ("rho", "momentum"),
  "vicreg_loss": ("invariance_weight", "variance_weight", "covariance_weight", "eps"),
  "w_mse_loss": ("subbatch", "iterations", "eps"),
}
ZERO_TOO = ("temperature", "student_temp", "teacher_temp", "temp", "gamma", "clip", "t_max", "slices", "knots", "subbatch")


@pytest.mark.parametrize("name", sorted(BAD_NUMBERS))
def test_numbers(name):
  arrays, numbers = GOOD[name]
  for argument in BAD_NUMBERS[name]:
    for wrong in (-1.0, float("nan"), "0.5", *([0, 0.0] if argument in ZERO_TOO else [])):
      with pytest.raises(ValueError, match=f"{name}: {argument}="):
        run(name, arrays, {**numbers, argument: wrong})


def test_checks_run_while_a_function_is_traced_and_leave_nothing_in_it():
  def checked(x, tau):
    check_arrays("f", x=(x, "float [batch, dim]"), y=(x, "float [batch, dim]"))
    check_values("f", tau=(tau, "(0, inf)"))
    return x

  def twice(x, tau):
    return losses.info_nce_loss(x, jnp.concatenate([x, x]), temperature=tau)[0]

  assert not jax.make_jaxpr(checked)(Z, 0.1).eqns  # and a traced temperature passes
  for transformed, x in ((jax.jit(twice), Z), (jax.grad(twice), Z), (jax.vmap(twice, (0, None)), TOKENS)):
    with pytest.raises(ValueError, match=r"query \[(.), 8\] and key \[., 8\] differ in batch"):
      transformed(x, 0.1)
