"""Peak memory of a step by config, batch, recomputation and accumulation: `python experiments/memory/run.py`.

Nothing is run. For each row the step is traced at full depth, which gives the state (parameters, moments, teacher), the
gradient, and what the forward pass keeps for the backward pass, all exactly as JAX asks for them; and it is compiled for
the CPU at two depths, whose temporaries are extrapolated to the full one. Where blocks are recomputed they run as a loop
(`remat` and `scan`): unrolled, the CPU's compiler recomputes early and keeps the result.

    --only mae          one of the two
    --traced            without compiling
"""

import argparse
import os

os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # pylint: disable=g-import-not-at-top
import numpy as np

from jssl import data
from jssl.config import load_config
from jssl.environment import run_key
from jssl.errors import ConfigError
from jssl.train import Trainer

MODELS = {  # config, its ViT, variant, blocks of the variant, batch
  "mae": ("mae:imagenet", "encoder", "L/16", 24, 256),
  "dino": ("dino:imagenet", "student", "B/16", 12, 64),
}
DEPTHS = (2, 4)  # that are compiled
GIB = 2**30


def make_trainer(name: str, depth: int, *, remat: bool, accumulate: int) -> Trainer:
  """A trainer for one device and data that nobody reads; ConfigError where the method cannot accumulate."""
  config_name, network, variant, _, batch = MODELS[name]
  config = load_config(config_name)
  config.networks[network].update(dict(variant=variant, depth=depth, remat=remat, scan=remat))
  if "decoder" in config.networks:
    config.networks.decoder.update(dict(remat=remat, scan=remat))
  config.update(dict(batch_size=batch, accumulate=accumulate))
  spec = dict(image=jax.ShapeDtypeStruct((224, 224, 3), np.uint8), extent=jax.ShapeDtypeStruct((2,), np.int32))
  source = data.from_iterator(iter, num_examples=1_281_167, element_spec=spec)
  return Trainer(config, source, devices=jax.devices()[:1])


def size(tree) -> float:
  """GiB of arrays or of their shapes; a random key counts as its two words."""
  nbytes = lambda x: x.size * (8 if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x.dtype.itemsize)
  return sum(map(nbytes, jax.tree.leaves(tree))) / GIB


def kept(trainer: Trainer) -> float:
  """GiB that the forward pass of one part of the batch keeps for the backward pass, parameters apart."""
  method, variables, part = trainer.single_method, trainer.abstract, trainer.config.batch_size // trainer.config.accumulate
  batch = {name: jax.ShapeDtypeStruct((part, *x.shape[1:]), x.dtype) for name, x in trainer.spec.items()}

  def forward(params, variables, batch):
    loss = lambda p: method.loss(p, variables, batch, key=run_key(0), step=0)
    return jax.vjp(loss, params, has_aux=True)[1]

  residuals = jax.eval_shape(forward, variables.params, variables, batch)
  return size(residuals) - size(variables.params)


def compiled(name: str, **options) -> float:
  """GiB of the temporaries of the whole step, the gradient among them, compiled for the CPU: a line through two depths."""
  low, high = (
    make_trainer(name, depth, **options).lower_single().compile().memory_analysis().temp_size_in_bytes / GIB
    for depth in DEPTHS
  )
  return low + (high - low) * (MODELS[name][3] - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0])


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--only", choices=MODELS)
  parser.add_argument("--traced", action="store_true")
  arguments = parser.parse_args()
  print(
    "| config | batch | remat | accumulate | state | gradient | kept | sum | temporaries on a CPU | and state |\n"
    + "|---" * 10
    + "|",
    flush=True,
  )
  for name in [arguments.only] if arguments.only else MODELS:
    config, _, variant, depth, batch = MODELS[name]
    for remat in (False, True):
      for accumulate in (1, 4):
        options = dict(remat=remat, accumulate=accumulate)
        row = f"| {config}, ViT-{variant} | {batch} | {'on' if remat else 'off'} | {accumulate} |"
        try:
          trainer = make_trainer(name, depth, **options)
        except ConfigError as error:
          print(row, f"not possible: {error}", "| " * 5 + "|", flush=True)
          continue
        state = size(trainer.step_spec()[0])
        # With accumulation there is the sum so far, and a part's own gradient.
        gradient = size(trainer.abstract.params) * (1 if accumulate == 1 else 2)
        parts = (state, gradient, kept(trainer))
        cells = [f"{gib:.1f}" for gib in (*parts, sum(parts))]
        if arguments.traced:
          cells += ["", ""]
        else:
          temporaries = compiled(name, **options)
          cells += [f"{temporaries:.1f}", f"{temporaries + state:.1f}"]
        print(row, " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
  main()
