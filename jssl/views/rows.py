"""Rows of tables, for runs whose data a `refresh` function makes."""

import jax
import jax.numpy as jnp


def draw_row(rng: jax.Array, *tables: jax.Array, count: jax.Array | int | None = None) -> tuple[jax.Array, ...]:
  """The same row, drawn at random, of each of several tables.

  Args:
    rng: key of the example.
    *tables: `[rows, ...]`, of equally many rows.
    count: how many rows are filled, >= 1; by default all are.

  Returns:
    of each table an array `[...]`.

  Raises:
    ValueError: for no tables, and for tables of different length.

  Example:

    >>> x, y = draw_row(jax.random.key(0), jnp.arange(8), 10 * jnp.arange(8), count=3)
    >>> int(x) < 3, int(y) == 10 * int(x)
    (True, True)
  """
  rows = _rows(tables)
  index = jax.random.randint(rng, (), 0, rows if count is None else count)
  return tuple(table[index] for table in tables)


def take_row(rng: jax.Array, index: jax.Array, *tables: jax.Array) -> tuple[jax.Array, ...]:
  """Row `index`, modulo their number, of each of several tables.

  With as many examples in the data set (`data.nothing(num_examples=rows)`) each row is seen once an epoch.

  Args:
    rng: not used.
    index: number of the example.
    *tables: `[rows, ...]`, of equally many rows.

  Returns:
    of each table an array `[...]`.

  Raises:
    ValueError: for no tables, and for tables of different length.
  """
  del rng
  return tuple(table[index % _rows(tables)] for table in tables)


def _rows(tables) -> int:
  lengths = {jnp.shape(table)[:1] for table in tables}
  if len(lengths) != 1 or lengths == {()}:
    raise ValueError(f"tables of equally many rows are needed; got {[jnp.shape(table) for table in tables]}")
  return lengths.pop()[0]
