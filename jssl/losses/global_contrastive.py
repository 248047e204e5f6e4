"""Contrast with the whole data set: each image remembers how near its negatives were, and perhaps its temperature."""

import math

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize
from jssl.batch_axis import gather, positions
from jssl.checks import check_arrays, check_values, Loss, Number
from jssl.losses.arrays import cosines
from jssl.stateful import Stateful

State = dict[str, jax.Array]


def _init_sogclr(a: jax.Array, b: jax.Array, index: jax.Array, *, num_examples: int) -> State:
  del a, b, index
  return {"u": jnp.zeros(num_examples, jnp.float32)}


def _apply_sogclr(
  state: State,
  a: jax.Array,
  b: jax.Array,
  index: jax.Array,
  *,
  temperature: Number = 0.1,
  gamma: Number = 0.9,
  axis_name: str | None = None,
) -> tuple[Loss, State]:
  """SogCLR: the global contrastive loss, whose negatives are the whole data set, from small batches.

  For image i with views z_i, z_i', with g_i the mean over its negatives (both views of all other images) of
  exp(z_i . z / tau), the objective is

      F = mean_i sum over both views of  tau log g_i - z_i . z_i'

  A batch's g is a poor estimate of the data set's. So each image keeps a moving average u_i of it, and the gradient
  divides by that:

      u <- (1 - gamma) u_i + gamma g_i                              the first time: u <- g_i
      L = mean_i sum over both views of  mean_z w_z z_i . z - z_i . z_i',   w_z = exp(z_i . z / tau) / u

  with w not differentiated. At gamma = 1 the gradient of L is that of F over the batch. Each view has a u of its own
  for its step; their mean is remembered.

  Args:
    state: `u` float32 `[examples]`, 0 for an image that was not seen yet.
    a, b: `[batch, dim]`, embeddings of two views; L2-normalised here.
    index: int `[batch]`, each image's number in the data set, no number twice in a batch.
    temperature: tau; exp(1 / tau) must be finite in float32, so tau > 0.012.
    gamma: weight of the new estimate, in (0, 1]; 0.9 in the authors' code.
    num_examples: of the data set.
    axis_name: mapped axis over which the batch is split; negatives come from the global batch.

  Returns:
    The loss L; `objective`, the estimate of F with u for g; `accuracy`, how often the own other view is nearer
    than all negatives; and the new state, in which every image of the global batch is written.

  Where code and paper differ, this is the code: one u for an image where the paper's equations have one for each pair
  of augmentations, and the start from g_i instead of an arbitrary value. The authors' code starts so while all of a
  batch is new; here that is decided image by image.

  References:
    Yuan, Wu, Qiu, Du, Zhang, Zhou, Yang 2022, arXiv 2202.12387, equation 2 and algorithm 1; Optimization-AI/SogCLR,
    sogclr/builder.py (`dynamic_contrastive_loss`); Optimization-AI/LibAUC, libauc/losses/contrastive.py (`GCLoss_v1`).

  Example:

    >>> state = sogclr_loss.init(None, None, None, num_examples=5)
    >>> eye = jnp.eye(2)
    >>> (loss, metrics), state = sogclr_loss.apply(state, eye, eye, jnp.array([4, 1]), temperature=1.0)
    >>> print(f"{loss:.1f} {metrics['objective']:.1f}", state["u"].tolist())   # mean exp(0) = 1 for both images
    -2.0 -2.0 [0.0, 1.0, 0.0, 0.0, 1.0]
  """
  _check("sogclr_loss", state, a, b, index)
  check_values("sogclr_loss", temperature=(temperature, "[0.012, inf)"), gamma=(gamma, "(0, 1]"))
  loss, seen, metrics = _contrast(a, b, state["u"][index], temperature, gamma, axis_name)
  return (loss, metrics), _written(state, index, {"u": seen["u"]}, axis_name)


sogclr_loss = Stateful(_init_sogclr, _apply_sogclr)


def _init_isogclr(a: jax.Array, b: jax.Array, index: jax.Array, *, num_examples: int, temperature: float = 0.1) -> State:
  del a, b, index
  return {
    "u": jnp.zeros(num_examples, jnp.float32),
    "temperature": jnp.full(num_examples, temperature, jnp.float32),
    "momentum": jnp.zeros(num_examples, jnp.float32),
  }


def _apply_isogclr(
  state: State,
  a: jax.Array,
  b: jax.Array,
  index: jax.Array,
  *,
  gamma: Number = 0.8,
  rho: Number = 0.4,
  eta: Number = 0.03,
  beta: Number = 0.5,
  temperature_range: tuple[Number, Number] = (0.05, 1.0),
  clip: Number = 3.0,
  axis_name: str | None = None,
) -> tuple[Loss, State]:
  """iSogCLR: SogCLR with a temperature of each image's own, which is learned.

  A robust contrastive loss lets an adversary reweigh each image's negatives within a KL ball of radius rho; its dual is

      F = mean_i sum over both views of  tau_i log g_i - z_i . z_i' + tau_i rho

  minimised over the network and over tau_i in a range. Images with many similar negatives end up with a large tau_i.
  The network's gradient is SogCLR's with tau_i for tau; the temperature's, of each image that the batch holds, is

      G = mean over both views of  log u + rho - mean_z w_z (z_i . z) / tau_i,   clipped to [-clip, clip]
      v_i <- (1 - beta) v_i + beta G,   tau_i <- tau_i - eta v_i, kept in the range

  Args:
    state: tables `[examples]`: `u`, as in SogCLR; `temperature`, tau_i; `momentum`, v_i.
    a, b, index: as in SogCLR.
    temperature: at the start, 0.1 in the authors' runs.
    gamma: weight of the new estimate of u, in (0, 1].
    rho: radius, 0.1 to 0.5 recommended for images.
    eta: learning rate of the temperatures.
    beta: weight of the new gradient of a temperature, in (0, 1].
    temperature_range: the least tau > 0.012 and the largest.
    clip: of the temperature's gradient.
    num_examples: of the data set.
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss as in SogCLR; `objective` (F with u for g), `accuracy`, `temperature` and `temperature_gradient` (means
    over the batch); and the new state.

  Where code and paper differ, this is the code. The paper takes exp((z_i . z - z_i . z_i') / tau_i) for g, here it is
  exp(z_i . z / tau_i); the factor cancels in w and in G where u is the present g, so the two differ by what u remembers
  alone. The paper, and LibAUC, do not clip G. The authors' repository starts u from gamma g_i; here, as in LibAUC, it
  starts from g_i.

  References:
    Qiu, Hu, Yuan, Zhou, Zhang, Yang 2023, arXiv 2305.11965, equation 6 and algorithm 1;
    zhqiu/contrastive-learning-iSogCLR, unimodal_exps/losses.py (`SogCLR_DRO_Loss`); Optimization-AI/LibAUC,
    libauc/losses/contrastive.py (`GCLoss_v1`).

  Example:

    >>> state = isogclr_loss.init(None, None, None, num_examples=3, temperature=0.5)
    >>> eye = jnp.eye(2)
    >>> (loss, metrics), state = isogclr_loss.apply(state, eye, eye, jnp.array([2, 0]), rho=0.4, eta=0.5, beta=0.5)
    >>> print([f"{t:.1f}" for t in state["temperature"]])   # two fell by eta * beta * G, G = log 1 + rho - 0
    ['0.4', '0.5', '0.4']
  """
  _check("isogclr_loss", state, a, b, index)
  moving = dict(eta=eta, beta=beta, temperature_range=temperature_range, clip=clip)
  _check_numbers("isogclr_loss", "[0.012, inf)", gamma=gamma, rho=rho, **moving)
  before = {name: table[index] for name, table in state.items()}
  temperature = before["temperature"]
  loss, seen, metrics = _contrast(a, b, before["u"], temperature, gamma, axis_name)
  moved, gradient = _moved(before, seen["slope"] + rho, **moving)
  metrics |= {
    "objective": metrics["objective"] + 2 * rho * jnp.mean(temperature),
    "temperature": jnp.mean(temperature),
    "temperature_gradient": jnp.mean(gradient),
  }
  return (loss, metrics), _written(state, index, {"u": seen["u"]} | moved, axis_name)


isogclr_loss = Stateful(_init_isogclr, _apply_isogclr)


def _init_bimodal(
  image: jax.Array, text: jax.Array, index: jax.Array, *, num_examples: int, temperature: float = 0.01
) -> dict[str, State]:
  del image, text, index
  table = lambda value: jnp.full(num_examples, value, jnp.float32)
  side = lambda: {"log_u": table(-jnp.inf), "temperature": table(temperature), "momentum": table(0.0)}
  return {"image": side(), "text": side()}


def _apply_bimodal(
  state: dict[str, State],
  image: jax.Array,
  text: jax.Array,
  index: jax.Array,
  *,
  gamma: Number = 0.8,
  rho: Number = 6.0,
  eta: Number = 0.03,
  beta: Number = 0.9,
  temperature_range: tuple[Number, Number] = (0.005, 1.0),
  clip: Number = 5.0,
  axis_name: str | None = None,
) -> tuple[Loss, dict[str, State]]:
  """iSogCLR of pairs: each image finds its text among all texts, each text its image, at temperatures of their own.

  With h_ij = x_i . t_j - x_i . t_i for image i and text j, and g_i the mean over the other texts of exp(h_ij / tau_i),

      F = mean_i  tau_i log g_i + tau_i rho   +   the same of the texts among the images, with temperatures tau'_j

  As in `isogclr_loss`, u_i is a moving average of g_i, weights and temperatures take it for g_i, and the network's gradient
  is that of

      L = mean_i mean_j w_ij h_ij  +  the texts',   w_ij = exp(h_ij / tau_i) / u_i, not differentiated

  Temperatures are small, h / tau is up to 2 / 0.005, and exp of it overflows. So log u is what is remembered, and

      log u <- log((1 - gamma) u_i + gamma g_i)                      the first time: log g_i

  Args:
    state: of `image` and of `text` the tables `[examples]` `log_u` (-inf for a pair that was not seen yet), `temperature`
      and `momentum`.
    image, text: `[batch, dim]`, embeddings of pairs; L2-normalised here.
    index: int `[batch]`, each pair's number in the data set, no number twice in a batch.
    temperature: at the start, 0.01 in the authors' runs.
    gamma: weight of the new estimate of u, in (0, 1].
    rho: radius, 6 to 8 in the authors' runs.
    eta: learning rate of the temperatures.
    beta: weight of the new gradient of a temperature, in (0, 1].
    temperature_range: the least and the largest, above 0; LibAUC's largest is 0.05.
    clip: of the temperature's gradient.
    num_examples: of the data set.
    axis_name: mapped axis over which the batch is split; negatives come from the global batch.

  Returns:
    The loss L; `objective` (F with u for g), `accuracy`, how often the own partner is nearer than all others, `temperature`
    and `temperature_gradient`, means over the batch and both sides; and the new state.

  Where paper and code differ: the authors' code keeps u and the largest h / tau so far, by whose exponential u is divided;
  log u is the same number, and needs no largest. Their sums run over the pair itself too, and u starts from gamma g_i; here,
  as in LibAUC, they do not and it starts from g_i. LibAUC halves the loss and does not clip.

  References:
    Qiu, Hu, Yuan, Zhou, Zhang, Yang 2023, arXiv 2305.11965, equation 7 and algorithm 2; zhqiu/contrastive-learning-iSogCLR,
    bimodal_exps/models/losses.py (`iSogCLR_New_Loss`); Optimization-AI/LibAUC, libauc/losses/contrastive.py (`GCLoss_v2`).

  Example:

    >>> state = bimodal_isogclr_loss.init(None, None, None, num_examples=3, temperature=0.5)
    >>> eye, index = jnp.eye(2), jnp.array([2, 0])
    >>> (loss, metrics), state = bimodal_isogclr_loss.apply(state, eye, eye, index, rho=1.0, eta=0.5, beta=0.5)
    >>> print(f"{loss:.1f} {metrics['objective']:.1f} {metrics['accuracy']:.1f}")   # all h are -1, F = 2 (-1 + 0.5 rho)
    -2.0 -1.0 1.0
    >>> print([f"{t:.2f}" for t in state["text"]["temperature"]])   # two fell by eta * beta * G, G = -2 + rho + 2
    ['0.25', '0.50', '0.25']
  """
  function = "bimodal_isogclr_loss"
  check_arrays(
    function, image=(image, "float [batch, dim]"), text=(text, "float [batch, dim]"), index=(index, "int [batch]")
  )
  for side, tables in state.items():
    check_arrays(function, **{f"state['{side}']['{name}']": (x, "float [examples]") for name, x in tables.items()})
  moving = dict(eta=eta, beta=beta, temperature_range=temperature_range, clip=clip)
  _check_numbers(function, "(0, inf)", gamma=gamma, rho=rho, **moving)
  image, text = l2_normalize(image), l2_normalize(text)
  sides, after = {}, {}
  for side, anchor, partner in (("image", image, text), ("text", text, image)):
    before = {name: table[index] for name, table in state[side].items()}
    loss, log_u, slope, nearer = _find_partner(anchor, partner, before["log_u"], before["temperature"], gamma, axis_name)
    moved, gradient = _moved(before, slope + rho, **moving)
    sides[side] = loss, before["temperature"] * (log_u + rho), nearer, before["temperature"], gradient
    after[side] = _written(state[side], index, {"log_u": log_u} | moved, axis_name)
  loss, objective, *means = (jnp.stack([jnp.mean(x) for x in pair]) for pair in zip(*sides.values(), strict=True))
  names = ("accuracy", "temperature", "temperature_gradient")
  metrics = {"objective": jnp.sum(objective)} | {name: jnp.mean(x) for name, x in zip(names, means, strict=True)}
  return (jnp.sum(loss), metrics), after


bimodal_isogclr_loss = Stateful(_init_bimodal, _apply_bimodal)


def _find_partner(anchor, partner, past, temperature, gamma: Number, axis_name: str | None):
  """One side of pairs: each anchor among the partners of the global batch.

  Args:
    anchor, partner: `[local_batch, dim]` of norm 1.
    past: `[local_batch]`, log u so far.
    temperature: `[local_batch]`.

  Returns:
    The loss; of each anchor the new log u, d(tau log u) / d tau, and whether its own partner is nearer than all others.
  """
  similarity = jnp.matmul(anchor, gather(partner, axis_name).T, precision="highest")
  own = positions(len(anchor), axis_name)
  negative = jnp.arange(similarity.shape[1]) != own[:, None]
  count = max(similarity.shape[1] - 1, 1)
  difference = similarity - jnp.take_along_axis(similarity, own[:, None], axis=-1)
  scaled = jax.lax.stop_gradient(difference) / temperature[:, None]
  present = jax.nn.logsumexp(jnp.where(negative, scaled, -jnp.inf), axis=-1) - math.log(count)
  mean = jnp.logaddexp(jnp.log1p(-gamma) + past, jnp.log(gamma) + present)
  # A batch of one pair has no negatives, whence the maximum.
  now = jnp.maximum(jnp.where(jnp.isneginf(past), present, mean), -1e30)
  weights = jnp.where(negative, jnp.exp(jnp.where(negative, scaled, 0) - now[:, None]), 0) / count
  loss = jnp.mean(jnp.sum(weights * difference, axis=-1))
  nearer = jnp.all(~negative | (difference < 0), axis=-1)
  return loss, now, now - jnp.sum(weights * scaled, axis=-1), nearer.astype(similarity.dtype)


def _moved(before: State, gradient: jax.Array, *, eta, beta, temperature_range, clip) -> tuple[State, jax.Array]:
  """One step of temperatures `[local_batch]` with their momentum, and the clipped gradient."""
  gradient = jnp.clip(gradient, -clip, clip)
  momentum = (1 - beta) * before["momentum"] + beta * gradient
  temperature = jnp.clip(before["temperature"] - eta * momentum, *temperature_range)
  return {"temperature": temperature, "momentum": momentum}, gradient


def _check(function: str, state: State, a: jax.Array, b: jax.Array, index: jax.Array) -> None:
  check_arrays(function, a=(a, "float [batch, dim]"), b=(b, "float [batch, dim]"), index=(index, "int [batch]"))
  check_arrays(function, **{f"state['{name}']": (table, "float [examples]") for name, table in state.items()})


def _check_numbers(function: str, temperatures: str, *, gamma, rho, eta, beta, temperature_range, clip) -> None:
  """Those of losses that learn temperatures, which lie in the interval `temperatures`."""
  check_values(
    function,
    gamma=(gamma, "(0, 1]"),
    rho=(rho, "[0, inf)"),
    eta=(eta, "[0, inf)"),
    beta=(beta, "(0, 1]"),
    temperature_range=(temperature_range, f"range {temperatures}"),
    clip=(clip, "(0, inf)"),
  )


def _contrast(a: jax.Array, b: jax.Array, u: jax.Array, temperature: Number, gamma: Number, axis_name: str | None):
  """SogCLR's loss; of each image the new `u` and the `slope` d(tau log u) / d tau; metrics.

  Args:
    u: `[local_batch]`, estimates of the past.
    temperature: a scalar or `[local_batch]`.
  """
  similarity, self_column = cosines((a, b), axis_name)
  total = similarity.shape[1]
  image = jnp.arange(total) % (total // 2)
  negative = image != image[self_column][:, None]
  count = max(total - 2, 1)
  positive = jnp.take_along_axis(similarity, (self_column[:, None] + total // 2) % total, axis=-1)[:, 0]
  both = lambda x: jnp.tile(jnp.broadcast_to(x, u.shape), 2)  # the two views' rows of an image

  fixed_similarity, tau, past = jax.lax.stop_gradient(similarity), both(temperature), both(u)
  powers = jnp.where(negative, jnp.exp(fixed_similarity / tau[:, None]), 0)
  present = jnp.sum(powers, axis=-1) / count
  # An image that was not seen yet has u = 0. A batch of one image has no negatives, whence the maximum.
  now = jnp.maximum(jnp.where(past > 0, (1 - gamma) * past + gamma * present, present), 1e-30)
  weights = powers / now[:, None] / count
  loss = 2 * jnp.mean(jnp.sum(weights * similarity, axis=-1) - positive)

  slope = jnp.log(now) - jnp.sum(weights * fixed_similarity, axis=-1) / tau
  per_image = lambda x: jnp.mean(x.reshape(2, -1), axis=0)
  nearer = positive > jnp.max(jnp.where(negative, fixed_similarity, -2), axis=-1)
  metrics = {"objective": 2 * jnp.mean(tau * jnp.log(now) - positive), "accuracy": jnp.mean(nearer.astype(loss.dtype))}
  return loss, {"u": per_image(now), "slope": per_image(slope)}, metrics


def _written(state: State, index: jax.Array, rows: State, axis_name: str | None) -> State:
  """The tables with the rows of every image of the global batch; the same on all devices."""
  indices, rows = jax.tree.map(lambda x: gather(x, axis_name), (index, rows))
  return {name: table.at[indices].set(rows[name].astype(table.dtype)) for name, table in state.items()}
