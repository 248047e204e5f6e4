"""Views of sequences, waveforms, clips and volumes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.views import audio, clips, geometry, sequences, volumes

KEYS = jax.random.split(jax.random.key(0), 500)


def draw(fn, *arrays, keys=KEYS, **numbers):
  return jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: fn(key, *arrays, **numbers)))(keys))


def test_windows_lie_within_the_data():
  x = jnp.arange(1, 21)
  view = draw(sequences.random_window, x, jnp.array(12), size=5)
  assert (view["length"] == 5).all() and (np.diff(view["x"]) == 1).all()
  assert set(view["x"][:, 0]) == set(range(1, 9))
  short = draw(sequences.random_window, x, jnp.array(3), size=5)
  assert (short["x"] == [1, 2, 3, 0, 0]).all() and (short["length"] == 3).all() and short["x"].dtype == np.int32
  assert set(draw(sequences.random_window, x, size=19)["x"][:, 0]) == {1, 2}
  with pytest.raises(ValueError, match=r"size=21 must lie in \[1, 20\]"):
    sequences.random_window(KEYS[0], x, size=21)


def test_waveforms():
  signal = jnp.asarray(np.random.default_rng(0).normal(3, 5, (40, 2)), jnp.float32)
  plain = audio.waveform(KEYS[0], signal, jnp.array(30), size=16)
  view = audio.waveform(KEYS[0], signal, jnp.array(30), size=16, standardize=True)
  wanted = (plain["x"] - plain["x"].mean(0)) / np.sqrt(np.var(plain["x"], axis=0) + 1e-7)
  np.testing.assert_allclose(view["x"], wanted, atol=1e-5)
  short = audio.waveform(KEYS[0], signal[:, 0], jnp.array(9), size=16, standardize=True)
  assert short["x"].shape == (16, 1) and int(short["length"]) == 9
  data = np.float64(signal[:9, :1])
  np.testing.assert_allclose(short["x"][:9], (data - data.mean()) / data.std(), atol=1e-5)
  assert not short["x"][9:].any()
  silence = audio.waveform(KEYS[0], jnp.zeros(20), jnp.array(0), size=16, standardize=True)
  assert not silence["x"].any()
  with pytest.raises(ValueError, match=r"must be \[T\] or \[T, channels\]"):
    audio.waveform(KEYS[0], jnp.zeros((20, 4, 4)), size=16)


def test_every_frame_of_a_clip_shows_the_same_part():
  height, width = 12, 16
  places = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), -1).astype(jnp.float32)
  frames = jnp.concatenate(
    [jnp.tile(places[None], (9, 1, 1, 1)), jnp.broadcast_to(jnp.arange(9.0)[:, None, None, None], (9, height, width, 1))], -1
  )
  view = draw(clips.random_clip, frames, jnp.array(7), frames=3, stride=2, size=(4, 6), scale=(0.3, 0.6))
  assert view.shape == (500, 3, 4, 6, 3)
  np.testing.assert_allclose(view[..., :2], np.tile(view[:, :1, ..., :2], (1, 3, 1, 1, 1)), atol=1e-4)
  times = np.round(view[:, :, 0, 0, 2]).astype(int)
  assert (np.diff(times) == 2).all() and set(times[:, 0]) == {0, 1, 2}
  mirrored = view[:, 0, 0, 0, 1] > view[:, 0, 0, -1, 1]
  assert abs(mirrored.mean() - 0.5) < 0.1
  short = draw(clips.random_clip, frames, jnp.array(2), frames=3, stride=2, size=4, keys=KEYS[:3])
  assert (np.round(short[:, :, 0, 0, 2]) == [0, 1, 1]).all()
  with pytest.raises(ValueError, match="take 11 frames, the clip has 9"):
    clips.random_clip(KEYS[0], frames, frames=6, stride=2, size=4)


@pytest.mark.slow
def test_a_whole_clip_is_each_frame_resized():
  frames = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 8, 8, 3)), jnp.float32)
  view = clips.random_clip(KEYS[0], frames, frames=2, size=4, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
  wanted = [geometry.resize(frame, 4, "bilinear") for frame in frames]
  np.testing.assert_allclose(view, jnp.stack(wanted), atol=1e-5)


def test_boxes_of_a_volume():
  volume = jnp.arange(4 * 5 * 6).reshape(4, 5, 6, 1)
  view = draw(volumes.random_box, volume, size=(2, 3, 6), flip=0.0)[..., 0]
  corners = np.stack(np.unravel_index(view[:, 0, 0, 0], (4, 5, 6)), -1)
  assert {tuple(corner) for corner in corners} == {(d, h, 0) for d in range(3) for h in range(3)}
  for box, (d, h, w) in zip(view[:20], corners, strict=False):
    np.testing.assert_array_equal(box, volume[d : d + 2, h : h + 3, w : w + 6, 0])
  whole, flipped = np.asarray(volume[..., 0]), draw(volumes.random_box, volume, size=(4, 5, 6))[..., 0]
  steps = dict(enumerate((30, 6, 1)))  # from a voxel to its neighbour along each axis
  mirrored = {axis: np.diff(flipped, axis=axis + 1)[:, 0, 0, 0] == -step for axis, step in steps.items()}
  assert all(0.4 < draws.mean() < 0.6 for draws in mirrored.values())
  for i in range(8):
    np.testing.assert_array_equal(flipped[i], np.flip(whole, [axis for axis in steps if mirrored[axis][i]]))
  with pytest.raises(ValueError, match=r"size=\(5, 5, 5\) is larger than the volume \[4, 5, 6\]"):
    volumes.random_box(KEYS[0], volume, size=5)
