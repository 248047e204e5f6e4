"""Part (a): a train step, forward, backward, AdamW and the teacher's average, from images that are prepared.

The numbers of a case are a piece of jssl's config, spelt out so far that torch's side is built from them alone.
"""

import numpy as np
from turns import Work

OPTIM = dict(lr=1e-4, weight_decay=0.05)
TOLERANCE = 1e-4  # of a loss, relative
# Of a gradient, by its norm. In a ResNet a unit that is 0 but for rounding passes its gradient on one side alone.
GRADIENT_TOLERANCE = dict(vit=1e-3, resnet=3e-2)
ENCODERS = dict(
  S=dict(width=384, depth=12, num_heads=6),
  B=dict(width=768, depth=12, num_heads=12),
  L=dict(width=1024, depth=24, num_heads=16),
)
NARROW = dict(width=192, num_heads=3)
PAIR = ("a", "b")


def _vit(image_size: int, patch_size: int, **numbers) -> dict:
  return dict(image_size=image_size, patch_size=patch_size, **numbers)


def _case(config: str, batch_size: int, views: dict[str, int], networks: dict, **more) -> dict:
  """Keywords of a side. On a GPU ten steps make a call, so that it does not wait for the host after each.

  Args:
    config: of jssl, whose structure is taken.
    batch_size: images.
    views: name -> side in pixels, the two large ones first.
    networks: the numbers of each.
    **more: `masking`, `losses`: numbers of entries of the config; `gpu=True`: bfloat16.
  """
  gpu = more.pop("gpu", False)
  return dict(
    config=config,
    batch_size=batch_size,
    views=views,
    networks=networks,
    optim=OPTIM,
    dtype="bfloat16" if gpu else "float32",
    repeat=10 if gpu else 1,
    **more,
  )


def _mae(batch_size: int, size: int, net: dict, decoder: dict, **more) -> dict:
  decoder = dict(patch_size=net["patch_size"], **decoder)
  return _case("mae:imagenet", batch_size, dict(v=size), dict(encoder=net, decoder=decoder), **more)


def _dino(batch_size: int, sizes: tuple[int, int], net: dict, head: dict, **more) -> dict:
  views = dict.fromkeys(PAIR, sizes[0]) | {f"l{i}": sizes[1] for i in range(1, 9)}
  head = dict(bottleneck=256, norm_last_layer=False, **head)
  student = dict(net, cls_position=False, heads=dict(logits=head))
  return _case("dino:imagenet", batch_size, views, dict(student=student), **more)


def _ibot(batch_size: int, size: int, net: dict, head: dict, min_block: int, **more) -> dict:
  """The preset without small crops."""
  head = dict(bottleneck=256, norm_last_layer=False, **head)
  masking = {f"m_{v}": dict(min_block=min_block) for v in PAIR}
  return _case(
    "ibot:cifar10",
    batch_size,
    dict.fromkeys(PAIR, size),
    dict(student=dict(net, heads=dict(head=head))),
    masking=masking,
    **more,
  )


def _mmc(batch_size: int, size: int, net: dict, head: dict, **more) -> dict:
  heads = dict(trunk=dict(bottleneck=256, **head), pixels=dict(patch_size=net["patch_size"]))
  return _case("mmc:imagenet", batch_size, dict.fromkeys(PAIR, size), dict(student=dict(net, heads=heads)), **more)


def _resnet(config: str, batch_size: int, size: int, net: dict, head: dict, losses: dict, **more) -> dict:
  return _case(
    config, batch_size, dict.fromkeys(PAIR, size), dict(student=dict(net, heads=dict(z=head))), losses=losses, **more
  )


def _barlow_twins(preset: str, batch_size: int, size: int, net: dict, dim: int, **numbers) -> dict:
  more = dict(gpu=numbers.pop("gpu", False))
  return _resnet(f"barlow_twins:{preset}", batch_size, size, net, dict(hidden=dim, output=dim), dict(bt=numbers), **more)


def _simclr(batch_size: int, **more) -> dict:
  return _resnet(
    "simclr:cifar10",
    batch_size,
    32,
    dict(depth=18, stem="cifar"),
    dict(hidden=2048, output=256),
    dict(nt_xent=dict(temperature=0.2)),
    **more,
  )


def _simmim(batch_size: int, size: int, net: dict) -> dict:
  heads = dict(pixels=dict(patch_size=net["patch_size"]))
  return _case("simmim:cifar10", batch_size, dict(v=size), dict(encoder=dict(net, heads=heads)))


CASES = {
  "mae": dict(
    cpu=_mae(128, 64, _vit(64, 8, depth=12, **NARROW), dict(width=128, depth=2, num_heads=4)),
    gpu=_mae(256, 224, _vit(224, 16, **ENCODERS["B"]), dict(width=512, depth=8, num_heads=16), gpu=True),
  ),
  "mae_large": dict(gpu=_mae(256, 224, _vit(224, 16, **ENCODERS["L"]), dict(width=512, depth=8, num_heads=16), gpu=True)),
  "dino": dict(
    cpu=_dino(16, (32, 16), _vit(32, 4, depth=8, **NARROW), dict(hidden=512, prototypes=1024)),
    gpu=_dino(128, (224, 96), _vit(224, 16, **ENCODERS["S"]), dict(hidden=2048, prototypes=65536), gpu=True),
  ),
  "dino_base": dict(gpu=_dino(64, (224, 96), _vit(224, 16, **ENCODERS["B"]), dict(hidden=2048, prototypes=65536), gpu=True)),
  "mmc": dict(
    cpu=_mmc(16, 32, _vit(32, 4, depth=8, **NARROW), dict(hidden=512, prototypes=1024)),
    gpu=_mmc(128, 224, _vit(224, 16, **ENCODERS["S"]), dict(hidden=2048, prototypes=8192), gpu=True),
  ),
  "ibot": dict(
    cpu=_ibot(16, 32, _vit(32, 4, depth=8, **NARROW), dict(hidden=512, prototypes=1024), 4),
    gpu=_ibot(128, 224, _vit(224, 16, **ENCODERS["S"]), dict(hidden=2048, prototypes=8192), 16, gpu=True),
  ),
  "barlow_twins": dict(
    cpu=_barlow_twins("cifar10", 32, 32, dict(depth=18, stem="cifar"), 1024, lambd=5e-3, scale=0.1),
    gpu=_barlow_twins("imagenet", 256, 224, dict(depth=50, stem="imagenet"), 8192, lambd=0.0051, scale=1.0, gpu=True),
  ),
  "simclr": dict(cpu=_simclr(32), gpu=_simclr(512, gpu=True)),
  # ViT-Ti with patches of 4, the first case that was measured.
  "simmim_tiny": dict(cpu=_simmim(128, 32, _vit(32, 4, depth=12, **NARROW))),
}


def make_images(batch_size: int, views: dict[str, int]) -> dict[str, np.ndarray]:
  """Normalised images of each view, float32 `[batch, size, size, 3]`."""
  rng = np.random.default_rng(0)
  return {v: rng.standard_normal((batch_size, size, size, 3), dtype=np.float32) for v, size in views.items()}


def _jssl(case: str, **numbers) -> Work:
  del case
  import jssl_steps  # pylint: disable=g-import-not-at-top

  return jssl_steps.make_work(make_images(numbers["batch_size"], numbers["views"]), **numbers)


def _torch(case: str, *, compiled: bool = False, batch_size: int, masking=None, **numbers) -> Work:
  del case, masking
  import torch_methods  # pylint: disable=g-import-not-at-top

  return torch_methods.make_work(make_images(batch_size, numbers["views"]), compiled=compiled, **numbers)


SIDES = {"jssl": _jssl, "torch": _torch, "torch.compile": lambda case, **numbers: _torch(case, compiled=True, **numbers)}


def check(case: str, *, batch_size: int = 8, **numbers) -> None:
  """Asserts that both sides find the same loss and gradients from the same weights, images and masks.

  On the CPU, in float32, with a batch of at most eight; torch's side eager, and divided as `torch.compile` divides it
  into a forward and a backward pass. The student is moved a little away from its start, at which it is the teacher
  and whole branches have no gradient.

  Raises:
    AssertionError: if the loss differs by more than 1e-4, or a gradient by more than `GRADIENT_TOLERANCE`.
  """
  import torch  # pylint: disable=g-import-not-at-top
  import torch_methods  # pylint: disable=g-import-not-at-top
  import torch_models  # pylint: disable=g-import-not-at-top

  numbers = {key: value for key, value in numbers.items() if key != "repeat"} | dict(dtype="float32")
  images = make_images(min(batch_size, 8), numbers["views"])
  torch_images = {v: torch.from_numpy(image) for v, image in images.items()}
  model = torch_methods.make_method(numbers["config"], numbers["networks"], numbers.get("losses"))
  start, params, drawn, loss, gradients = _jssl_loss(images, tuple(model.draw(torch_images)), numbers)
  torch_models.load(model, start)
  model.start_teacher()
  torch_models.load(model, params)
  drawn = {name: torch.from_numpy(x.astype(np.int64) if x.dtype == np.int32 else x) for name, x in drawn.items()}
  expected = torch_models.from_jssl(gradients)
  tolerance = GRADIENT_TOLERANCE["resnet" if "stem" in next(iter(numbers["networks"].values())) else "vit"]
  for form, forward in (("eager", model), ("compiled", torch.compile(model, backend="aot_eager_decomp_partition"))):
    model.zero_grad()
    torch_loss, _ = forward(torch_images, drawn)
    torch_loss.backward()
    error = abs(torch_loss.item() - loss) / abs(loss)
    errors = _gradient_errors(model, expected)
    worst = max(errors, key=errors.get)
    print(
      f"{case}, {form}: loss {loss:.6f} and {torch_loss.item():.6f} (relative difference {error:.1e}); "
      f"{len(errors)} gradients, the worst by {errors[worst]:.1e} of its norm ({worst})"
    )
    assert error <= TOLERANCE and errors[worst] <= tolerance, f"{case}, {form}"


def _jssl_loss(images, names, numbers):
  """Parameters at the start and moved, the arrays of these names, the loss from the moved ones, and its gradient."""
  import jax  # pylint: disable=g-import-not-at-top
  import jssl_steps  # pylint: disable=g-import-not-at-top

  batch = images | dict(index=np.arange(len(next(iter(images.values()))), dtype=np.int32))
  made = jssl_steps.make_step(batch_size=len(batch["index"]), **numbers)
  variables, draw = made.init(jssl_steps.run_key(0)).variables, dict(key=jssl_steps.run_key(0), step=0)
  rng = np.random.default_rng(1)
  start = jax.tree.map(np.array, variables.params)
  params = jax.tree.map(lambda x: x + 0.02 * rng.standard_normal(x.shape, np.float32), start)

  @jax.jit
  def evaluate(params, variables, batch):
    arrays = made.method.environment(variables, batch, **draw)
    loss = lambda params: made.method.loss(params, variables, batch, **draw)[0]
    return {name: arrays[name] for name in names}, *jax.value_and_grad(loss)(params)

  drawn, loss, gradients = jax.tree.map(np.array, evaluate(params, variables, batch))
  return start, params, drawn, float(loss), gradients


def _gradient_errors(model, expected) -> dict[str, float]:
  """Distance of each gradient by its norm, or, for one next to nothing, by a thousandth of the mean norm."""
  norms = {name: float(gradient.norm()) for name, gradient in expected.items()}
  least = 1e-3 * float(np.mean(list(norms.values())))
  found = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
  assert sorted(found) == sorted(expected)
  zero = lambda gradient, like: like * 0 if gradient is None else gradient
  return {
    name: float((zero(found[name], expected[name]) - expected[name]).norm()) / max(norms[name], least) for name in expected
  }
