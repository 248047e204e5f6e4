"""Optimizers against torch, against optax and against NumPy written from the equations."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from jssl import optim
from jssl.configs import common
from jssl.optim import default_optim_config, layer_factors, make_optimizer
from jssl.schedules import constant, cosine, linear

RUN = dict(total_steps=20, steps_per_epoch=5, batch_size=512)
STEPS = 12


def tensors(seed=0):
  rng = np.random.default_rng(seed)
  shapes = dict(attention=dict(query=dict(kernel=(4, 3), bias=(2, 3))), norm=dict(scale=(5,)), head=dict(kernel=(3, 2)))
  return jax.tree.map(
    lambda shape: rng.normal(size=shape).astype(np.float32), shapes, is_leaf=lambda x: isinstance(x, tuple)
  )


def train(config, steps=STEPS, **run):
  """Parameters after each update with gradients `tensors(1)`, `tensors(2)`, ...; and the optimizer's info."""
  params = tensors()
  tx, info = make_optimizer(config, jax.eval_shape(lambda: params), **{**RUN, **run})
  state, history = tx.init(params), []

  @jax.jit
  def update(grads, state, params):
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  for i in range(steps):
    params, state = update(tensors(i + 1), state, params)
    history.append(params)
  assert int(state.count) == steps
  return history, info


def leaves(tree):
  return dict(
    query=tree["attention"]["query"]["kernel"],
    bias=tree["attention"]["query"]["bias"],
    scale=tree["norm"]["scale"],
    head=tree["head"]["kernel"],
  )


def torch_train(optimizer, lr, wd, clip=None):
  """The same with a torch optimizer over two groups: decayed matrices, and biases and vectors."""
  torch = pytest.importorskip("torch")
  start = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in leaves(tensors()).items()}
  groups = [dict(params=[start["query"], start["head"]]), dict(params=[start["bias"], start["scale"]], weight_decay=0.0)]
  tx = optimizer(torch, groups)
  for i in range(STEPS):
    tx.param_groups[0].update(lr=float(lr[i]), weight_decay=float(wd[i]))
    tx.param_groups[1].update(lr=float(lr[i]))
    for name, grad in leaves(tensors(i + 1)).items():
      start[name].grad = torch.tensor(grad)
      if clip:
        torch.nn.utils.clip_grad_norm_([start[name]], clip)
    tx.step()
  return {name: value.detach().numpy() for name, value in start.items()}


def half_cosine(start, end, progress):
  return end + (start - end) * (1 + np.cos(np.pi * np.clip(progress, 0, 1))) / 2


def lr_by_hand(peak, end, warmup, steps=STEPS, total=20):
  s = np.arange(steps)
  return np.where(s < warmup, peak * s / warmup, half_cosine(peak, end, (s - warmup) / (total - warmup)))


@pytest.mark.parametrize("clip", [None, 1.5])
def test_adamw_with_schedules_is_torchs(clip):
  config = dict(
    name="adamw",
    lr=0.02,
    end_lr=1e-3,
    warmup_epochs=1,
    weight_decay=cosine(0.04, 0.4),
    clip=clip and dict(per_tensor=clip),
    b2=0.95,
  )
  wd = half_cosine(0.04, 0.4, np.arange(STEPS) / 20)
  want = torch_train(
    lambda torch, groups: torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95)), lr_by_hand(0.02, 1e-3, 5), wd, clip
  )
  history, info = train(config)
  for name, value in leaves(history[-1]).items():
    np.testing.assert_allclose(value, want[name], rtol=2e-5, atol=2e-6, err_msg=name)
  assert info["decayed"] == 2 and info["undecayed"] == 2
  np.testing.assert_allclose([info["lr"](s) for s in range(STEPS)], lr_by_hand(0.02, 1e-3, 5), rtol=1e-5, atol=1e-9)
  np.testing.assert_allclose([info["weight_decay"](s) for s in range(STEPS)], wd, rtol=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_coupled_decay_is_torchs(nesterov):
  config = dict(
    name="sgd", lr=0.1, lr_schedule="step", step_factors=(0.1,), boundaries_steps=(6,), weight_decay=0.01, nesterov=nesterov
  )
  lr = np.where(np.arange(STEPS) < 6, 0.1, 0.01)
  want = torch_train(
    lambda torch, groups: torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=nesterov), lr, np.full(STEPS, 0.01)
  )
  for name, value in leaves(train(config)[0][-1]).items():
    np.testing.assert_allclose(value, want[name], rtol=2e-5, atol=2e-6, err_msg=name)


def numpy_train(update):
  """Applies `update(name, w, g, memory, step) -> (w, memory)` in float64."""
  params = {name: value.astype(np.float64) for name, value in leaves(tensors()).items()}
  memory = dict.fromkeys(params)
  for i in range(STEPS):
    for name, g in leaves(tensors(i + 1)).items():
      params[name], memory[name] = update(name, params[name], g.astype(np.float64), memory[name], i)
  return params


@pytest.mark.parametrize("clipped, classic", [(False, False), (True, False), (False, True)])
def test_lars_follows_its_equations(clipped, classic):
  """Weights and vectors have the two rates of Barlow Twins (0.2 and 0.0048); classic momentum is SimCLR's."""
  lr, eta, wd = lr_by_hand(0.2, 2e-4, 5), 0.02, 1e-2

  def update(name, w, g, m, i):
    rate = lr[i]
    if name in ("bias", "scale"):
      rate *= 0.0048 / 0.2
    else:
      g_norm, w_norm = np.linalg.norm(g), np.linalg.norm(w)
      g = g + wd * w
      q = eta * w_norm / (g_norm + wd * w_norm + 1e-8) if clipped else eta * w_norm / np.linalg.norm(g)
      g = (min(q / rate, 1) if clipped and rate else 1 if clipped else q) * g
    g = rate * g if classic else g
    m = g if m is None else 0.9 * m + g
    return w - (m if classic else rate * m), m

  config = dict(
    name="lars",
    lr=0.2,
    end_lr_fraction=1e-3,
    warmup_epochs=1,
    weight_decay=wd,
    eta=eta,
    lars_clip=clipped,
    classic_momentum=classic,
    lr_mults=(("(bias|scale)$", 0.0048 / 0.2),),
  )
  want = numpy_train(update)
  for name, value in leaves(train(config)[0][-1]).items():
    np.testing.assert_allclose(value, want[name], rtol=1e-5, atol=2e-6, err_msg=name)


def test_larc_is_swavs():
  """apex's LARC (clip=False) around torch's SGD, on every parameter: norms and biases are decayed and adapted too."""
  lr, wd = lr_by_hand(4.8, 4.8e-3, 5), 1e-2

  def update(name, w, g, m, i):
    g_norm, w_norm = np.linalg.norm(g), np.linalg.norm(w)
    g = (g + wd * w) * 1e-3 * w_norm / (g_norm + w_norm * wd + 1e-8)
    m = g if m is None else 0.9 * m + g
    return w - lr[i] * m, m

  config = dict(name="larc", lr=4.8, end_lr_fraction=1e-3, warmup_epochs=1, weight_decay=wd)
  want = numpy_train(update)
  history, info = train(config | dict(decay=(".",)))
  assert info["decayed"] == 4 and info["undecayed"] == 0
  for name, value in leaves(history[-1]).items():
    np.testing.assert_allclose(value, want[name], rtol=1e-5, atol=2e-6, err_msg=name)
  # Without `decay`, a vector moves by its whole gradient.
  bare = leaves(train(config)[0][-1])
  np.testing.assert_allclose(bare["head"], want["head"], rtol=1e-5, atol=2e-6)
  start = leaves(tensors())["scale"]
  assert np.linalg.norm(bare["scale"] - start) > 100 * np.linalg.norm(want["scale"] - start)


def test_lamb_follows_its_equations_and_optax():
  lr, wd = lr_by_hand(0.05, 0.0, 5), 0.1

  def update(name, w, g, moments, i):
    m, v = moments or (0.0, 0.0)
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    r = (m / (1 - 0.9 ** (i + 1))) / (np.sqrt(v / (1 - 0.999 ** (i + 1))) + 1e-6)
    if name in ("query", "head"):
      r = r + wd * w
      r = r * np.linalg.norm(w) / np.linalg.norm(r)
    return w - lr[i] * r, (m, v)

  config = dict(name="lamb", lr=0.05, warmup_fraction=0.25, weight_decay=wd, eps=1e-6)
  history, info = train(config)
  want = numpy_train(update)
  for name, value in leaves(history[-1]).items():
    np.testing.assert_allclose(value, want[name], rtol=2e-5, atol=2e-6, err_msg=name)

  tx = optax.lamb(info["lr"], weight_decay=wd)
  params = dict(kernel=tensors()["head"]["kernel"])
  state, reference = tx.init(params), params
  for i in range(STEPS):
    updates, state = tx.update(dict(kernel=tensors(i + 1)["head"]["kernel"]), state, reference)
    reference = optax.apply_updates(reference, updates)
  np.testing.assert_allclose(history[-1]["head"]["kernel"], reference["kernel"], rtol=2e-5)


def test_zero_norms_leave_the_gradient_alone():
  for config in (dict(name="lars"), dict(name="lars", lars_clip=True), dict(name="larc"), dict(name="lamb")):
    params = dict(kernel=jnp.zeros((2, 2)))
    tx, _ = make_optimizer(dict(lr=0.1, lr_schedule="constant", **config), params, **RUN)
    updates, _ = tx.update(dict(kernel=jnp.ones((2, 2))), tx.init(params), params)
    assert np.all(np.isfinite(updates["kernel"])) and np.all(updates["kernel"] < 0)
    updates, _ = tx.update(params, tx.init(params), params)
    assert np.all(updates["kernel"] == 0)


def test_clipping_only_shrinks():
  grads = dict(small=jnp.array([0.3, 0.4]), large=jnp.array([3.0, 4.0]))
  config = dict(name="sgd", momentum=0.0, lr=1.0, lr_schedule="constant")
  step = lambda clip: make_optimizer(dict(**config, clip=clip), grads, **RUN)[0]
  run = lambda tx: tx.update(grads, tx.init(grads), grads)[0]
  got = run(step(ml_collections.ConfigDict(dict(per_tensor=3.0))))
  np.testing.assert_allclose(got["small"], [-0.3, -0.4], rtol=1e-6)
  np.testing.assert_allclose(got["large"], -np.array([3.0, 4.0]) * 3 / (5 + 1e-6), rtol=1e-6)
  got = run(step(dict(global_norm=1.0)))
  np.testing.assert_allclose(optax.tree.norm(got), 1.0, rtol=1e-6)
  np.testing.assert_allclose(got["large"] / got["small"], -10.0 / -1.0, rtol=1e-6)


def test_what_is_one_tensor_in_torch_is_clipped_as_one():
  """A norm of 5 in parts of 3, 4 and 0, none of which is too long by itself; `out` is no part of it."""
  config = dict(name="sgd", momentum=0.0, lr=1.0, lr_schedule="constant")
  attention = lambda x: {
    name: dict(kernel=jnp.array([x * length])) for name, length in dict(query=3.0, key=4.0, value=0.0, out=4.8).items()
  }
  grads = dict(encoderblock_0=dict(MultiHeadDotProductAttention_0=attention(1.0)), encoderblock_1=dict(a=attention(0.1)))
  grads["backbone"] = dict(cls_position=jnp.array([[3.0]]), pos_embedding=jnp.array([[4.0]]))
  step = lambda **clip: make_optimizer(dict(config, clip=clip), grads, **RUN)[0]
  run = lambda tx: tx.update(grads, tx.init(grads), grads)[0]
  apart, joint = run(step(per_tensor=4.9)), run(step(per_tensor=4.9, joint=common.JOINT))
  jax.tree.map(lambda u, g: np.testing.assert_array_equal(u, -g), apart, grads)
  np.testing.assert_array_equal(
    joint["encoderblock_1"]["a"]["query"]["kernel"], -grads["encoderblock_1"]["a"]["query"]["kernel"]
  )
  for name, g in grads["encoderblock_0"]["MultiHeadDotProductAttention_0"].items():
    factor = 1.0 if name == "out" else 4.9 / (5 + 1e-6)
    got = joint["encoderblock_0"]["MultiHeadDotProductAttention_0"][name]["kernel"]
    np.testing.assert_allclose(got, -factor * g["kernel"], rtol=1e-6, err_msg=name)
  for name, g in grads["backbone"].items():
    np.testing.assert_allclose(joint["backbone"][name], -4.9 / (5 + 1e-6) * g, rtol=1e-6, err_msg=name)


def test_frozen_parameters_do_not_move_and_start_afresh():
  """A layer frozen for an epoch then behaves as if Adam had just begun, as in torch with `grad = None`."""
  base = dict(lr=0.01, lr_schedule="constant", weight_decay=0.1)
  history, info = train(dict(**base, freeze=(("head", dict(until_epochs=1)), "norm")))
  assert (info["frozen"], info["frozen_at_first"], info["decayed"], info["undecayed"]) == (1, 1, 2, 1)
  start = tensors()
  for i in range(5):
    np.testing.assert_array_equal(history[i]["head"]["kernel"], start["head"]["kernel"])
  np.testing.assert_array_equal(history[-1]["norm"]["scale"], start["norm"]["scale"])
  assert not np.array_equal(history[5]["head"]["kernel"], start["head"]["kernel"])
  free = train(base)[0]
  np.testing.assert_array_equal(history[-1]["attention"]["query"]["kernel"], free[-1]["attention"]["query"]["kernel"])

  params = dict(kernel=start["head"]["kernel"])
  tx = optax.adamw(0.01, weight_decay=0.1)
  state = tx.init(params)
  for i in range(5, STEPS):
    updates, state = tx.update(dict(kernel=tensors(i + 1)["head"]["kernel"]), state, params)
    params = optax.apply_updates(params, updates)
  np.testing.assert_allclose(history[-1]["head"]["kernel"], params["kernel"], rtol=1e-5)


def test_a_frozen_gradient_does_not_count_in_the_global_norm():
  config = dict(name="sgd", momentum=0.0, lr=1.0, lr_schedule="constant", clip=dict(global_norm=1.0), freeze=("large",))
  grads = dict(small=jnp.array([0.3, 0.4]), large=jnp.array([30.0, 40.0]))
  tx, _ = make_optimizer(config, grads, **RUN)
  updates, _ = tx.update(grads, tx.init(grads), grads)
  np.testing.assert_allclose(updates["small"], [-0.3, -0.4], rtol=1e-6)
  assert np.all(updates["large"] == 0)


def test_lr_mults_may_be_schedules_and_the_first_counts():
  config = dict(
    name="sgd",
    momentum=0.0,
    lr=0.1,
    lr_schedule="constant",
    lr_mults=(("query/kernel", linear(0.0, 1.0, steps=10)), ("query|head", 0.5)),
  )
  history, _ = train(config)
  start, grads = leaves(tensors()), [leaves(tensors(i + 1)) for i in range(2)]
  for name, factors in dict(query=(0.0, 0.1), bias=(0.5, 0.5), head=(0.5, 0.5), scale=(1.0, 1.0)).items():
    want = start[name] - 0.1 * sum(f * g[name] for f, g in zip(factors, grads, strict=True))
    np.testing.assert_allclose(leaves(history[1])[name], want, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ["sgd", "lars"])
def test_a_constant_lr_stays_at_the_scaled_peak(name):
  """SimSiam's predictor: warm-up and decay move the others, its own factor counts."""
  config = dict(name=name, lr=0.1, lr_scale="linear", lr_mults=(("head", 0.5),), lars_clip=True)
  held = train(dict(config, warmup_epochs=1, end_lr=0.01, constant_lr=("head",)))[0]
  always, moved = train(dict(config, lr_schedule="constant"))[0], train(dict(config, warmup_epochs=1, end_lr=0.01))[0]
  for step in (0, STEPS - 1):
    np.testing.assert_array_equal(leaves(held[step])["head"], leaves(always[step])["head"])
    np.testing.assert_array_equal(leaves(held[step])["query"], leaves(moved[step])["query"])
  assert not np.array_equal(leaves(held[-1])["head"], leaves(moved[-1])["head"])


def test_no_decay_adds_to_the_rule():
  history, info = train(dict(lr=0.01, lr_schedule="constant", weight_decay=0.5, no_decay=("head",)))
  plain = train(dict(lr=0.01, lr_schedule="constant"))[0]
  for name in ("bias", "scale", "head"):
    np.testing.assert_array_equal(leaves(history[-1])[name], leaves(plain[-1])[name])
  assert info["decayed"] == 1
  assert not np.array_equal(leaves(history[-1])["query"], leaves(plain[-1])["query"])


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_all_are_decayed_when_asked_as_torch_does_with_one_list(name):
  torch = pytest.importorskip("torch")
  history, info = train(dict(name=name, lr=0.01, lr_schedule="constant", weight_decay=0.5, decay=(".",)))
  assert (info["decayed"], info["undecayed"]) == (4, 0)
  params = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in leaves(tensors()).items()}
  kinds = dict(adamw=(torch.optim.AdamW, {}), sgd=(torch.optim.SGD, dict(momentum=0.9)))
  kind, numbers = kinds[name]
  tx = kind(params.values(), lr=0.01, weight_decay=0.5, **numbers)
  for i in range(STEPS):
    for key, grad in leaves(tensors(i + 1)).items():
      params[key].grad = torch.tensor(grad)
    tx.step()
  for key, value in leaves(history[-1]).items():
    np.testing.assert_allclose(value, params[key].detach().numpy(), rtol=1e-5, atol=2e-6, err_msg=key)


def test_decay_takes_from_the_rule():
  """What torch keeps as `[count, 1]`, the gains of prototypes, is decayed there."""
  decayed, info = train(dict(lr=0.01, lr_schedule="constant", weight_decay=0.5, decay=("scale",)))
  assert info["decayed"] == 3 and [path.rsplit("/")[-1] for path in info["decayed_paths"]].count("scale") == 1
  plain = train(dict(lr=0.01, lr_schedule="constant", weight_decay=0.5))[0]
  np.testing.assert_array_equal(leaves(decayed[-1])["bias"], leaves(plain[-1])["bias"])
  start, moved = leaves(tensors())["scale"], leaves(plain[0])["scale"]
  np.testing.assert_allclose(leaves(decayed[0])["scale"], moved - 0.01 * 0.5 * start, rtol=1e-5)


def test_layer_decay_has_maes_numbering():
  paths = [
    "student/backbone/cls",
    "student/backbone/cls_position",
    "student/backbone/pos_embedding",
    "student/backbone/embedding/kernel",
    "student/backbone/Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel",
    "student/backbone/Transformer/encoderblock_1/LayerNorm_0/scale",
    "student/backbone/Transformer/encoderblock_10/LayerNorm_0/scale",
    "student/backbone/Transformer/encoder_norm/scale",
    "student/heads_x/cls/kernel",
  ]
  factors = layer_factors(0.5, paths)
  np.testing.assert_allclose(list(factors.values()), 0.5 ** np.array([12, 12, 12, 12, 11, 10, 1, 0, 0]))

  params = dict(cls=(1, 1, 2), encoderblock_0=dict(kernel=(2, 2)), head=dict(kernel=(2, 2)))
  params = jax.tree.map(jnp.ones, params, is_leaf=lambda x: isinstance(x, tuple))
  tx, _ = make_optimizer(dict(name="sgd", lr=1.0, momentum=0.0, lr_schedule="constant", layer_decay=0.5), params, **RUN)
  updates, _ = tx.update(params, tx.init(params), params)
  assert [float(-u.ravel()[0]) for u in jax.tree.leaves(updates)] == [0.25, 0.5, 1.0]


def test_the_scaling_of_the_rate_is_said():
  params = dict(kernel=jnp.ones((2, 2)))
  text = lambda **config: make_optimizer(config, params, **RUN)[1]
  assert "lr 0.0005 x 512 / 256 = 0.001" in text(lr=5e-4, lr_scale="linear")["summary"]
  info = text(lr=0.075, lr_scale="sqrt", lr_scale_batch=1, lr_schedule="constant")
  assert "sqrt(512 / 1)" in info["summary"]
  np.testing.assert_allclose(info["lr"](3), 0.075 * 512**0.5, rtol=1e-6)
  whole = text(lr=constant(0.1, warmup_steps=4), lr_scale="linear")
  np.testing.assert_allclose([whole["lr"](0), whole["lr"](2), whole["lr"](9)], [0, 0.1, 0.2], rtol=1e-6)


def test_defaults_live_in_a_config_dict():
  config = ml_collections.ConfigDict(default_optim_config())
  config.update(
    dict(
      lr=1e-3,
      warmup_epochs=1,
      weight_decay=cosine(0.04, 0.4),
      clip=dict(per_tensor=3.0),
      freeze=(("head", dict(until_epochs=1)),),
    )
  )
  history, info = train(config, steps=2)
  assert np.all(np.isfinite(history[-1]["head"]["kernel"]))
  np.testing.assert_allclose(info["weight_decay"](0), 0.04, rtol=1e-6)


def test_bfloat16_parameters_keep_their_dtype():
  params = dict(kernel=jnp.ones((2, 2), jnp.bfloat16))
  for name in optim.NAMES:
    tx, _ = make_optimizer(dict(name=name, lr=0.1, weight_decay=0.1, clip=dict(per_tensor=1.0)), params, **RUN)
    updates, _ = tx.update(params, tx.init(params), params)
    assert updates["kernel"].dtype == jnp.bfloat16


@pytest.mark.parametrize(
  "config, message",
  [
    (dict(), "lr is missing"),
    (dict(lr=1.0, name="adam"), "'adamw'"),
    (dict(lr=1.0, weight_decays=1), "'weight_decay'"),
    (dict(lr=1.0, no_decay=("hed",)), "'hed' picks no parameter; did you mean 'head'"),
    (dict(lr=1.0, decay=("hed",)), "config.optim.decay: 'hed' picks no parameter"),
    (dict(lr=1.0, decay=("head",), no_decay=("head",)), "both decay and no_decay pick 'head"),
    (dict(lr=1.0, freeze=("last_layer",)), "picks no parameter"),
    (dict(lr=1.0, freeze=(("head", dict(until_epoch=1)),)), "'until_epochs'"),
    (dict(lr=1.0, lr_mults=(("head|query", 1.0), ("head", 2.0))), "earlier entries"),
    (dict(lr=1.0, layer_decay=0.5), "encoderblock"),
    (dict(lr=1.0, clip=dict(per_tensor=1.0, global_norm=1.0)), "not both"),
    (dict(lr=1.0, clip=dict(global_norm=1.0, joint="head")), "there is no per_tensor"),
    (dict(lr=1.0, clip=dict(per_tensor=1.0, joint="hed")), "clip.joint: 'hed' picks no parameter; did you mean 'head'"),
    (dict(lr=1.0, decay=("hed",)), "config.optim.decay: 'hed' picks no parameter"),
    (dict(lr=1.0, decay=("head",), no_decay=("head",)), "both decay and no_decay pick 'head"),
    (dict(lr=1.0, clip=dict(global_norms=1.0)), "'global_norm'"),
    (dict(lr=1.0, warmup_epochs=1, warmup_steps=4), "exactly one of"),
    (dict(lr=1.0, end_lr=0.1, end_lr_fraction=0.1), "not both"),
    (dict(lr=1.0, lr_schedule="constant", end_lr=0.1), "no end_lr"),
    (dict(lr=1.0, lr_schedule="cosin"), "'cosine'"),
    (dict(lr=1.0, lr_scale="square"), "'sqrt'"),
    (dict(lr=1.0, classic_momentum=True), "name='adamw' has no such momentum"),
    (dict(lr=cosine(1.0, 0.0), warmup_epochs=1), "whole schedule already"),
    (dict(lr=1.0, constant_lr=("hed",)), "constant_lr: 'hed' picks no parameter"),
    (dict(lr=cosine(1.0, 0.0), constant_lr=("head",)), "names no peak"),
  ],
)
def test_mistakes_are_named(config, message):
  with pytest.raises(ValueError, match=message):
    make_optimizer(config, tensors(), **RUN)


def apart(regex, params):
  """The parameters that a regex picks, and the others, as two trees."""
  flat = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
  return [{name: x for name, x in flat.items() if (regex in name) == side} for side in (True, False)]


@pytest.mark.parametrize("clip", [None, dict(global_norm=0.5), dict(per_tensor=0.3)])
def test_groups_are_separate_optimizers(clip):
  """Each has its own rates, moments, decay and norm: as two optimizers, each of its own parameters alone."""
  base = dict(name="adamw", lr=linear(0.1, 0.01), weight_decay=0.2, clip=clip)
  group = dict(name="sgd", lr=0.05, momentum=0.5, weight_decay=0.0, clip=dict(global_norm=0.1))
  together, info = train(dict(base, groups=dict(g=dict(group, params="^attention/"))))
  assert info["summary"].splitlines()[1].startswith("group g: sgd: lr 0.05; tensors: 1 decayed, 1 undecayed")
  for picked, config in ((True, group), (False, base)):
    params = apart("attention", tensors())[not picked]
    tx, _ = make_optimizer(config, params, **RUN)
    state = tx.init(params)
    for i in range(STEPS):
      updates, state = tx.update(apart("attention", tensors(i + 1))[not picked], state, params)
      params = optax.apply_updates(params, updates)
      for name, expected in params.items():
        found = apart("attention", together[i])[not picked][name]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=f"{name} {i}")


def test_a_group_may_move_every_few_updates():
  config = dict(lr=0.1, groups=dict(slow=dict(params="^head/", every=3)))
  history, info = train(config)
  assert "group slow: adamw: lr 0.1, every 3 updates" in info["summary"]
  heads = [tensors()["head"]["kernel"], *[p["head"]["kernel"] for p in history]]
  moved = [bool(np.any(a != b)) for a, b in zip(heads, heads[1:], strict=False)]
  assert moved == [False, False, True] * 4
  # Its moments have seen the gradients of those steps alone.
  params = tensors()["head"]
  tx, _ = make_optimizer(dict(lr=0.1, lr_schedule="constant"), params, **RUN)
  rate = lambda count: float(train(config, steps=1)[1]["lr"](count)) / 0.1
  state = tx.init(params)
  for i in (2, 5, 8, 11):
    updates, state = tx.update(tensors(i + 1)["head"], state, params)
    params = jax.tree.map(lambda p, u, i=i: p + rate(i) * u, params, updates)
  np.testing.assert_allclose(heads[-1], params["kernel"], rtol=1e-5, atol=1e-6)


def test_groups_inherit_what_fits_them():
  """Regexes that pick nothing in a group, but something elsewhere, are no mistake; layers are counted over all."""
  params = dict(
    net=dict(encoderblock_0=dict(kernel=jnp.ones((2, 2))), encoderblock_3=dict(kernel=jnp.ones((2, 2)))),
    head=dict(kernel=jnp.ones((2, 2)), bias=jnp.ones(2)),
  )
  base = dict(lr=1.0, lr_schedule="constant", name="sgd", momentum=0.0, layer_decay=0.5, no_decay=("head/kernel",))
  base |= dict(lr_mults=(("encoderblock_3", 0.1),), weight_decay=0.0)
  tx, info = make_optimizer(dict(base, groups=dict(low=dict(params="encoderblock_0"))), params, **RUN)
  updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
  np.testing.assert_allclose(updates["net"]["encoderblock_0"]["kernel"], -(0.5**4), rtol=1e-6)
  np.testing.assert_allclose(updates["net"]["encoderblock_3"]["kernel"], -0.5 * 0.1, rtol=1e-6)
  np.testing.assert_allclose(updates["head"]["kernel"], -1, rtol=1e-6)
  assert info["decayed"] == 2 and info["undecayed"] == 2


@pytest.mark.parametrize(
  "groups, message",
  [
    (dict(g=dict(lr=1.0)), r"optim\.groups\.g: give params, a regex"),
    (dict(g=dict(params="^critic/")), r"optim\.groups\.g: '\^critic/' picks no parameter"),
    (dict(g=dict(params="head", momentun=0.5)), r"optim\.groups\.g: .*unknown key; did you mean 'momentum'"),
    (dict(g=dict(params="head", every=0)), r"optim\.groups\.g: every=0: give a number of updates"),
    (dict(g=dict(params="head"), h=dict(params="head/kernel")), r"optim\.groups\.h: earlier groups have taken all"),
    (dict(rest=dict(params="head")), r"optim\.groups\.rest: is what the other parameters are called"),
    (dict(g=dict(params="head", no_decay=("norm",))), r"optim\.groups\.g: .*'norm' picks no parameter"),
  ],
)
def test_mistakes_in_groups_are_named(groups, message):
  with pytest.raises(ValueError, match=message):
    make_optimizer(dict(lr=0.1, groups=groups), tensors(), **RUN)
  with pytest.raises(ValueError, match="config.optim.no_decay: 'nobody' picks no parameter"):
    make_optimizer(dict(lr=0.1, no_decay=("nobody",), groups=dict(g=dict(params="head"))), tensors(), **RUN)
