"""What is remembered of each example, and of the last steps."""

import jax
import jax.numpy as jnp

from jssl.batch_axis import global_size, positions
from jssl.checks import check_arrays, check_values, Number
from jssl.stateful import enqueue, Stateful


def take_rows(table: jax.Array, index: jax.Array) -> jax.Array:
  """The rows of a table that belong to the batch's examples: pseudo-labels, assignments, memory.

  Args:
    table: `[examples, ...]`, as a `refresh` function writes it.
    index: int `[batch]`, the examples' numbers in the data set.

  Returns:
    `[batch, ...]`.

  Example:

    >>> take_rows(jnp.array([[0], [10], [20]]), jnp.array([2, 0])).tolist()
    [[20], [0]]
  """
  check_arrays("take_rows", table=(table, "any [examples, ...]"), index=(index, "int [batch]"))
  return table[index]


def _init(x: jax.Array, *, length: int) -> dict[str, jax.Array]:
  return dict(rows=jnp.zeros((length, *x.shape[1:]), jnp.float32), filled=jnp.int32(0))


def _apply(
  queue: dict[str, jax.Array], x: jax.Array, *, use: Number = 1.0, axis_name: str | None = None
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
  """The embeddings of the last steps, dealt out among the examples of the batch so that each brings some more rows.

  What a step sees are earlier steps' rows; its own are put in front afterwards. Dealt out, the queue can be read by a
  pass like any array of the batch, and devices share the work.

  Args:
    queue: the state: `rows [length, dim]`, zero at first, and the number of those that are `filled`.
    x: `[batch, dim]`, what is to be remembered.
    length: of the queue, a multiple of the global batch.
    use: 0 for a queue that fills but does not count yet; `step((0.0, 1.0), boundaries_epochs=(15,))` starts it later.
    axis_name: mapped axis over which the batch is split.

  Returns:
    `rows` float32 `[batch, length / global batch, dim]` and `counts`, bool of its first two axes: which are filled and
    in use; and the new state.

  Raises:
    ValueError: if the global batch does not divide the length.

  References:
    Caron et al. 2020 (SwAV), arXiv 2006.09882, section 3.1; facebookresearch/swav, main_swav.py.

  Example:

    >>> queue = feature_queue.init(jnp.zeros((2, 1)), length=4)
    >>> _, queue = feature_queue.apply(queue, jnp.array([[1.0], [2.0]]))
    >>> dealt, _ = feature_queue.apply(queue, jnp.array([[3.0], [4.0]]))
    >>> dealt["rows"][..., 0].tolist(), dealt["counts"].tolist()
    ([[1.0, 2.0], [0.0, 0.0]], [[True, True], [False, False]])
  """
  rows, filled = queue["rows"], queue["filled"]
  check_arrays("feature_queue", x=(x, "float [batch, *dim]"), rows=(rows, "float [length, *dim]"))
  check_values("feature_queue", use=(use, "[0, 1]"))
  batch = global_size(len(x), axis_name)
  if len(rows) % batch:
    raise ValueError(f"feature_queue: length={len(rows)} is not a multiple of the batch size {batch}")
  places = positions(len(rows) // batch * len(x), axis_name)
  dealt = dict(
    rows=rows[places].reshape(len(x), -1, *x.shape[1:]), counts=((places < filled) & (use > 0)).reshape(len(x), -1)
  )
  filled = jnp.minimum(filled + batch, len(rows)).astype(jnp.int32)
  return dealt, dict(rows=enqueue(rows, x, axis_name=axis_name), filled=filled)


feature_queue = Stateful(_init, _apply)
