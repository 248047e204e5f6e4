"""What a config's `fn` may name: a room's front, a file of a room, or a module."""

import pytest

from jssl import masking, models, nodes
from jssl.errors import ConfigError
from jssl.losses import queues
from jssl.views import audio


def test_names_of_a_rooms_front_and_of_its_files():
  assert nodes.resolve("here", "audio/waveform", "views") is audio.waveform
  assert nodes.resolve("here", "tubes/tube_mask", "masking") is nodes.resolve("here", "tube_mask", "masking")
  assert nodes.resolve("here", "tokens/token_encoder", "models") is models.token_encoder
  assert nodes.resolve("here", "queues/queue_info_nce_loss", "losses") is queues.queue_info_nce_loss  # a Stateful
  assert nodes.resolve("here", "jssl.masking.tubes:tube_mask", "views") is masking.tube_mask


@pytest.mark.parametrize(
  "fn, message",
  [
    ("audoi/waveform", r"here: fn='audoi/waveform': jssl.views has no file 'audoi'; did you mean 'audio'\?"),
    ("audio/wavefrom", r"here: fn='audio/wavefrom': jssl.views.audio has no 'wavefrom'; did you mean 'waveform'\?"),
    ("audio/random_window", r"jssl.views.audio has no 'random_window'; known: waveform"),  # which it has from sequences
    ("audio/jnp", "jssl.views.audio has no 'jnp'"),
    ("audio/deeper/waveform", "jssl.views.audio has no file 'deeper'"),
    ("../data/folder", "jssl.views has no file '..'"),
    ("/waveform", "jssl.views has no file ''"),
    ("sequences/", "jssl.views.sequences has no ''"),
    ("waveform", "jssl.views has no 'waveform'"),
  ],
)
def test_names_that_there_are_not(fn, message):
  with pytest.raises(ConfigError, match=message):
    nodes.resolve("here", fn, "views")
