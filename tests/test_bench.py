"""The benchmark against PyTorch: its two sides compute the same, and the cases that need a GPU can be traced without one."""

import importlib
import pathlib

import jax
import pytest

pytestmark = pytest.mark.slow
BENCH = pathlib.Path(__file__).parents[1] / "experiments/bench"
TINY = dict(width=32, depth=2, num_heads=2)


@pytest.fixture(autouse=True)
def bench(monkeypatch):
  monkeypatch.syspath_prepend(BENCH)


def tiny(case):
  """The numbers of a case at its CPU size, with networks that are compiled and run in seconds."""
  numbers = dict(importlib.import_module("steps").CASES[case]["cpu"], batch_size=4)
  networks = {name: dict(net, **(TINY if "width" in net else {})) for name, net in numbers["networks"].items()}
  return dict(numbers, networks=networks)


@pytest.mark.parametrize("case", ["mae", "dino", "simclr"])
def test_both_sides_compute_the_same(case):
  pytest.importorskip("torch")
  importlib.import_module("steps").check(case, **tiny(case))


def test_another_loss_is_found(monkeypatch):
  pytest.importorskip("torch")
  monkeypatch.setattr(importlib.import_module("torch_methods"), "TEACHER_TEMP", 0.06)
  with pytest.raises(AssertionError):
    importlib.import_module("steps").check("dino", **tiny("dino"))


@pytest.mark.parametrize("case", ["mae", "mae_large", "dino", "dino_base", "mmc", "ibot", "barlow_twins", "simclr"])
def test_the_cases_for_a_gpu_are_traced(case):
  """With two blocks, which is as good as twenty-four."""
  jssl_steps, steps = (importlib.import_module(name) for name in ("jssl_steps", "steps"))
  numbers = {key: value for key, value in steps.CASES[case]["gpu"].items() if key != "repeat"}
  numbers["networks"] = {
    name: dict(net, **(dict(depth=2) if "width" in net else {})) for name, net in numbers["networks"].items()
  }
  made = jssl_steps.make_step(**numbers)
  state = jax.eval_shape(made.init, jssl_steps.run_key(0))
  batch = jssl_steps.batch_spec(batch_size=numbers["batch_size"], views=numbers["views"])
  after, metrics = jax.eval_shape(made.step, state, {}, batch)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
  assert metrics["loss"].shape == ()


def test_no_case_for_a_gpu_is_left_out():
  steps = importlib.import_module("steps")
  assert {case for case, sizes in steps.CASES.items() if "gpu" not in sizes} == {"simmim_tiny"}


def test_a_row_compares_with_the_fastest_other_side():
  run, turns = (importlib.import_module(name) for name in ("run", "turns"))

  def side(*seconds):
    calls = [dict(wall=wall, cpu=2 * wall, system=0.1, peak=300.0, device_peak=0.0) for wall in seconds]
    return turns.Result(None, 5.0, 10, 4e9, calls, [dict(calls[0], result=4e10, wall=2.0)], 1)

  jssl, _, _, missing = run.rows(
    "mae",
    dict(jssl=side(1.0, 2.0, 3.0), slow=side(9.0), fast=side(1.0), other=turns.Result("no torch", 0.0, 0, 0.0, [], [], 0)),
  )
  assert jssl == "| mae | jssl | 2000 (1000, 3000) | 5 | 4.00 (0.10) | 2 | 10% | 300 MiB RSS | 5 s | 3 (1) | 0.50 |"
  assert missing.startswith("| mae | other | not measured: no torch |")


@pytest.mark.parametrize("case", ["mae", "simmim_tiny", "dino", "ibot", "mmc", "barlow_twins", "simclr"])
def test_flops_are_those_that_torch_counts(case):
  torch = pytest.importorskip("torch")
  flop_counter = importlib.import_module("torch.utils.flop_counter")
  flops, steps, methods = (importlib.import_module(name) for name in ("flops", "steps", "torch_methods"))
  numbers = tiny(case)
  images = {v: torch.from_numpy(x) for v, x in steps.make_images(numbers["batch_size"], numbers["views"]).items()}
  model = methods.make_method(numbers["config"], numbers["networks"], numbers.get("losses"))
  with (
    flop_counter.FlopCounterMode(display=False) as counter,
    torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
  ):
    model(images, model.draw(images))[0].backward()
  counted = flops.step_flops(
    numbers["config"].partition(":")[0],
    batch_size=numbers["batch_size"],
    views=numbers["views"],
    networks=numbers["networks"],
  )
  assert counted == pytest.approx(counter.get_total_flops(), rel=0.01)
