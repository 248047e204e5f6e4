"""What an evaluation takes from a run's config."""

import pytest

from jssl import evaluate
from jssl.errors import ConfigError


@pytest.mark.parametrize(
  "views,size",
  [
    (dict(a=dict(fn="augment", reads=("image",), size=32), b=dict(fn="augment", reads=("image",), size=16)), 32),
    (dict(crop=dict(fn="augment", reads=("image",), size=48), a=dict(fn="augment", reads=("crop/image",), size=32)), 32),
    (dict(crop=dict(fn="augment", reads=("image",), size=48), a=dict(fn="rotate", reads=("image=crop",), turns=1)), 48),
  ],
)
def test_the_evaluation_view_is_what_the_network_sees(views, size):
  assert evaluate.view_number(views, "size") == size


def test_a_view_without_a_size_is_an_error():
  with pytest.raises(ConfigError, match="config.evaluation.size"):
    evaluate.view_number(dict(a=dict(fn="augment", reads=("image",))), "size")
