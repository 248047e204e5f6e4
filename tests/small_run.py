"""For runs in processes of their own: a small form of any method on the embedded scenes, `mmc` or `mae:steps=400`."""

from tests import methods


def get_config(argument: str):
  name, _, steps = argument.partition(":steps=")
  config = methods.small(name, depth=1, total_steps=int(steps or 60), checkpoint_every_steps=5)
  config.data.options = dict(num_examples=64, image_size=24)
  return config
