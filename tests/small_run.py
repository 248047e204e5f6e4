"""A config for runs in processes of their own: a small form of any method on the embedded scenes."""

from tests import methods


def get_config(name: str):
  config = methods.small(name, total_steps=60, checkpoint_every_steps=5)
  config.data.options = dict(num_examples=64, image_size=24)
  return config
