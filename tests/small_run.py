"""For runs in processes of their own: a small form of any method on the embedded scenes, `mmc` or `mae:steps=400`.

In `barlow_twins@objects` the last view is one of other data, which stand beside the run's own.
"""

from tests import methods


def get_config(argument: str):
  argument, _, steps = argument.partition(":steps=")
  name, _, also = argument.partition("@")
  config = methods.small(name, depth=1, total_steps=int(steps or 60), checkpoint_every_steps=5)
  config.data.options = dict(num_examples=64, image_size=24)
  if also:
    config.data.also = dict(also=dict(name=also, options=dict(num_examples=40, image_size=24)))
    config.views[[*config.views][-1]].reads = ("also/image", "extent=also/extent")
  return config
