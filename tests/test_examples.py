"""Examples in docstrings run with the tests (`--doctest-modules`); here: that public functions have one, and annotations."""

import inspect

import pytest

from jssl import evaluation, losses, masking, targets, views
from jssl.stateful import Stateful

# Whose draws or outputs say nothing in three lines.
WITHOUT = {
  "masking": {
    "alien_blocks",
    "alien_replace",
    "block_mask",
    "distort",
    "gmml_corrupt",
    "hole",
    "mix_patches",
    "multi_block_mask",
    "stratified_block_mask",
  },
  "targets": {"color_grid", "patch_pixels", "same"},
}


@pytest.mark.parametrize("room", [losses, masking, targets])
def test_public_functions_have_an_example(room):
  functions = {name: getattr(room, name) for name in room.__all__}
  docs = {name: (f.apply if isinstance(f, Stateful) else f).__doc__ or "" for name, f in functions.items()}
  missing = {name for name, doc in docs.items() if ">>>" not in doc}
  assert missing == WITHOUT.get(room.__name__.rpartition(".")[2], set())


def annotated(fn):
  signature = inspect.signature(fn)
  return [p.name for p in signature.parameters.values() if p.annotation is p.empty] + (
    ["return"] if signature.return_annotation is signature.empty else []
  )


@pytest.mark.parametrize("room", [evaluation, evaluation.transferability, losses, masking, targets, views])
def test_public_functions_are_annotated(room):
  for name in room.__all__:
    fn = getattr(room, name)
    for part in (fn.init, fn.apply) if isinstance(fn, Stateful) else (fn,) if inspect.isfunction(fn) else ():
      assert annotated(part) == [], (name, annotated(part))
