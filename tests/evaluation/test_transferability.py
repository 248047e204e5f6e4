"""Scores of transferability against marginal likelihoods, other libraries and counting."""

from fractions import Fraction
import itertools

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.mixture import GaussianMixture

from jssl.evaluation import transferability

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], (30, 20, 10))
MEANS = RNG.normal(size=(3, 6))
FEATURES = MEANS[LABELS] + RNG.normal(size=(60, 6)) * np.array([1.0, 0.8, 0.6, 0.5, 0.4, 0.3]) + 0.5
SCORES = {
  "logme": transferability.logme_score,
  "sfda": transferability.sfda_score,
  "nleep": lambda x, y: transferability.nleep_score(x, y, components=1),
  "parc": transferability.parc_score,
  "gbc": transferability.gbc_score,
}


def evidence(features, y, alpha, beta):
  """ln p(y) / n of a Gaussian whose covariance is written out."""
  n = len(y)
  cov = np.eye(n) / beta + features @ features.T / alpha
  return stats.multivariate_normal(np.zeros(n), cov, allow_singular=False).logpdf(y) / n


@pytest.mark.parametrize("dim", [6, 90])
def test_logme_is_the_largest_marginal_likelihood(dim):
  """Of 60 examples in 6 dimensions, and in 90 of which 10 are used: there the authors' code gives another number."""
  features = FEATURES if dim == 6 else FEATURES @ RNG.normal(size=(6, 90)) / 9 + RNG.normal(size=(60, 4)) @ np.eye(4, 90)
  best = []
  for c in range(3):
    y = (LABELS == c).astype(float)
    found = optimize.minimize(lambda p, y=y: -evidence(features, y, *np.exp(p)), [0.0, 0.0], method="Nelder-Mead")
    best.append(-found.fun)
  exact = transferability.logme_score(features, LABELS, steps=200, tolerance=1e-9, eps=0.0)
  assert exact == pytest.approx(np.mean(best), abs=1e-7)
  assert transferability.logme_score(features, LABELS) == pytest.approx(exact, abs=2e-4)


def test_sfda_is_two_discriminants_of_another_library():
  for features in (FEATURES, 0.2 * FEATURES):  # of a small scale much is shrunk
    within = sum(np.cov(features[LABELS == c].T, bias=True) * np.mean(LABELS == c) for c in range(3))
    shrinkage = np.exp(-5 * np.linalg.eigvalsh(within).max())
    fit = lambda x, shrinkage=shrinkage: LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage).fit(x, LABELS)
    first = np.exp(fit(features).predict_proba(features))
    mixed = np.empty_like(features)
    for i, (x, c) in enumerate(zip(features, LABELS, strict=True)):
      q = first[i, c] / first[i].sum()
      mixed[i] = q * x + (1 - q) * np.mean([features[LABELS == k].mean(0) for k in range(3) if k != c], axis=0)
    expected = fit(mixed).predict_proba(mixed)[np.arange(60), LABELS].mean()
    assert transferability.sfda_score(features, LABELS) == pytest.approx(expected, rel=1e-6)


def test_sfda_where_all_features_sum_to_0():
  """As behind a LayerNorm: the power method of the authors' code starts from sums of rows, which are 0."""
  x = FEATURES - FEATURES.mean(1, keepdims=True)
  basis = np.linalg.qr(np.eye(6) - 1 / 6)[0][:, :5]
  shrunk_elsewhere = dict(rate=1e9)  # there is no shrinkage to speak of, and five dimensions are all there are
  assert transferability.sfda_score(x, LABELS, **shrunk_elsewhere) == pytest.approx(
    transferability.sfda_score(x @ basis, LABELS, **shrunk_elsewhere), rel=1e-4
  )


def test_leep_by_counting():
  p = [[Fraction(3, 4), Fraction(1, 4)], [Fraction(1, 2), Fraction(1, 2)], [Fraction(0), Fraction(1)]]
  y = [0, 1, 1]
  joint = {(c, z): sum(p[i][z] for i in range(3) if y[i] == c) for c in (0, 1) for z in (0, 1)}
  total = {z: joint[0, z] + joint[1, z] for z in (0, 1)}
  foretold = [sum(joint[y[i], z] / total[z] * p[i][z] for z in (0, 1)) for i in range(3)]
  expected = np.mean([np.log(float(f)) for f in foretold])
  assert transferability.leep_score(np.array(p, float), np.array(y)) == pytest.approx(expected, rel=1e-12)
  unused = np.concatenate([np.array(p, float), np.zeros((3, 1))], 1)  # a source class of which nothing is
  assert transferability.leep_score(unused, np.array(y)) == pytest.approx(expected, rel=1e-12)


def test_nleep_is_leep_of_a_mixture():
  reduced = PCA(0.8).fit_transform(FEATURES)
  assert 1 < reduced.shape[1] < 6
  p = GaussianMixture(6, random_state=3).fit(reduced).predict_proba(reduced)
  found = transferability.nleep_score(FEATURES, LABELS, components=2, log=True, seed=3)
  assert found == pytest.approx(transferability.leep_score(p, LABELS), rel=1e-6)
  shares = np.array([[p[LABELS == c, z].sum() / p[:, z].sum() for z in range(6)] for c in range(3)])
  plain = np.mean([(shares[c] * row).sum() for c, row in zip(LABELS, p, strict=True)])
  assert transferability.nleep_score(FEATURES, LABELS, components=2, seed=3) == pytest.approx(plain, rel=1e-6)


def test_parc_is_spearmans_correlation_of_all_pairs():
  for dims in (4, 32):
    z = PCA(min(dims, 6), svd_solver="full").fit_transform(FEATURES)
    z = (z - z.mean(0)) / z.std(0)
    pairs = list(itertools.combinations(range(60), 2))
    one_hot = np.eye(3)[LABELS]
    by_features = [1 - stats.pearsonr(z[i], z[j]).statistic for i, j in pairs]
    by_labels = [1 - np.corrcoef(one_hot[i], one_hot[j])[0, 1] for i, j in pairs]
    expected = 100 * stats.spearmanr(by_features, np.round(by_labels, 6)).statistic
    assert transferability.parc_score(FEATURES, LABELS, dims=dims) == pytest.approx(expected, abs=1e-6)


def test_parc_draws_of_each_class_its_share():
  """Where no class comes near another, all that counts is how many pairs are of one class."""
  labels = np.repeat(np.arange(5), (30, 20, 20, 10, 10))
  features = np.eye(5)[labels] + 1e-3 * RNG.normal(size=(90, 5))
  few = transferability.parc_score(features, labels, dims=4, examples=18, seed=1)
  shares = np.concatenate([np.flatnonzero(labels == c)[:share] for c, share in enumerate((6, 4, 4, 2, 2))])
  equal = np.concatenate([np.flatnonzero(labels == c)[:4] for c in range(5)])
  assert few == pytest.approx(transferability.parc_score(features[shares], labels[shares], dims=4), rel=1e-12)
  assert few != pytest.approx(transferability.parc_score(features[equal], labels[equal], dims=4), abs=1.0)
  assert few == transferability.parc_score(features, labels, dims=4, examples=18, seed=1)


@pytest.mark.parametrize("spherical", [False, True])
def test_gbc_is_the_overlap_of_gaussians(spherical):
  """In one and two dimensions, by numerical integration of sqrt(p q)."""
  for dims in (1, 2):
    reduced = PCA(dims).fit_transform(FEATURES)
    grid = np.stack(np.meshgrid(*[np.linspace(-8, 8, 641)] * dims, indexing="ij"), -1)
    densities = []
    for c in range(3):
      own = reduced[LABELS == c]
      variances = np.full(dims, own.var(0).mean()) if spherical else own.var(0)
      densities.append(stats.multivariate_normal(own.mean(0), np.diag(variances)).pdf(grid))
    overlaps = [
      np.sqrt(densities[a] * densities[b]).sum() * (16 / 640) ** dims for a, b in itertools.combinations(range(3), 2)
    ]
    found = transferability.gbc_score(FEATURES, LABELS, dims=dims, spherical=spherical)
    assert found == pytest.approx(-2 * sum(overlaps), rel=1e-6)


def test_gbc_leaves_out_what_has_no_variance():
  wide = np.concatenate([FEATURES, np.ones((60, 2)), FEATURES[:, :1]], 1)
  assert transferability.gbc_score(wide, LABELS, dims=9) == pytest.approx(transferability.gbc_score(wide, LABELS, dims=6))


def by_hand(x, y):
  """Weighted tau from its definition, with exact fractions for weights."""

  def one(order):
    place = {i: place for place, i in enumerate(order)}
    weight = lambda i, j: float(Fraction(1, 1 + place[i]) + Fraction(1, 1 + place[j]))
    dot = lambda a, b: sum(
      np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) * weight(i, j) for i, j in itertools.combinations(range(len(x)), 2)
    )
    return dot(x, y) / np.sqrt(dot(x, x) * dot(y, y))

  down = lambda first, then: sorted(range(len(x)), key=lambda i: (first[i], then[i]), reverse=True)
  return (one(down(x, y)) + one(down(y, x))) / 2


def test_weighted_kendall_by_its_definition():
  # Accuracies of PED's twelve models on CIFAR-10, after fine-tuning.
  truth = [96.98, 97.17, 96.72, 93.08, 94.15, 96.48, 96.42, 96.55, 96.85, 97.09, 96.22, 96.81]
  assert transferability.weighted_kendall(truth, truth) == pytest.approx(1)
  assert transferability.weighted_kendall(np.negative(truth), truth) == pytest.approx(-1)
  for seed in range(5):
    scores = np.random.default_rng(seed).integers(0, 6, 12)  # of which some are equal
    assert transferability.weighted_kendall(scores, truth) == pytest.approx(by_hand(scores, truth), abs=1e-12)
  best_exchanged, last_exchanged = np.array(truth), np.array(truth)
  best_exchanged[[1, 9]], last_exchanged[[3, 4]] = best_exchanged[[9, 1]], last_exchanged[[4, 3]]
  found = [transferability.weighted_kendall(x, truth) for x in (best_exchanged, last_exchanged)]
  assert found[0] < found[1] < 1


@pytest.mark.parametrize("name", SCORES)
def test_classes_that_are_apart_score_higher(name):
  scores = [SCORES[name](FEATURES + apart * np.eye(6)[LABELS], LABELS) for apart in (0, 2, 8)]
  assert scores == sorted(scores) and scores[0] < scores[2]
  assert SCORES[name](FEATURES, RNG.permutation(LABELS)) < scores[0]


@pytest.mark.parametrize("name", SCORES)
def test_labels_are_names(name):
  """Their numbers, and those that no example has, say nothing; nor does float32, but for rounding."""
  named = np.array([7, 2, 40])[LABELS]
  order = np.argsort(named, kind="stable")  # as k-means starts from draws by place
  assert SCORES[name](FEATURES[order], named[order]) == pytest.approx(SCORES[name](FEATURES[order], LABELS[order]), rel=1e-9)
  assert SCORES[name](FEATURES.astype(np.float32), LABELS) == pytest.approx(SCORES[name](FEATURES, LABELS), rel=1e-3)


ONE_EACH = np.arange(60)


@pytest.mark.parametrize("name", [*SCORES, "leep"])
@pytest.mark.parametrize(
  "features, labels, message",
  [
    (FEATURES[:, 0], LABELS, r"give features \[n, dim\] and integer labels \[n\]; found \[60\] and int"),
    (FEATURES, LABELS[:-1], r"found \[60, 6\] and int\d+ \[59\]"),
    (FEATURES, LABELS / 2, r"found \[60, 6\] and float64"),
    (np.where(FEATURES > 2, np.nan, FEATURES), LABELS, "NaN"),
    (np.ones((60, 6)), LABELS, "all 60 examples are the same: the network has collapsed"),
    (FEATURES, np.full(60, 4), "all 60 examples are of class 4"),
  ],
)
def test_what_cannot_be_scored_is_told(name, features, labels, message):
  score = (SCORES | dict(leep=transferability.leep_score))[name]
  with pytest.raises(ValueError, match=f"^{name}: .*{message}"):
    score(features, labels)


@pytest.mark.parametrize(
  "score, message",
  [
    (lambda: transferability.sfda_score(FEATURES, ONE_EACH), "sfda: no class varies, as with one example of each"),
    (
      lambda: transferability.gbc_score(FEATURES, ONE_EACH),
      "gbc: class 0 has 1 of the 2 examples that each class must have",
    ),
    (lambda: transferability.gbc_score(np.eye(6)[LABELS], LABELS), "gbc: a class does not vary in one of the components"),
    (lambda: transferability.parc_score(FEATURES, ONE_EACH), "parc: no two examples are of one class"),
    (lambda: transferability.parc_score(FEATURES[:, :1], LABELS), "parc: the features use a single dimension"),
    (lambda: transferability.parc_score(FEATURES, LABELS, dims=1), "parc: dims=1"),
    (lambda: transferability.nleep_score(FEATURES, LABELS, components=21), "3 classes make 63 clusters of 60 examples"),
    (lambda: transferability.leep_score(FEATURES, LABELS), "leep: give probabilities, whose rows sum to 1, and no logits"),
    (lambda: transferability.weighted_kendall([1.0, 1.0], [1.0, 2.0]), "are equal, which orders nothing"),
    (lambda: transferability.weighted_kendall([1.0, np.nan], [1.0, 2.0]), "give two finite vectors"),
    (lambda: transferability.weighted_kendall([1.0, 2.0], [1.0, 2.0, 3.0]), r"found \[2\] and \[3\]"),
  ],
)
def test_what_has_no_number_is_told(score, message):
  with pytest.raises(ValueError, match=message):
    score()
