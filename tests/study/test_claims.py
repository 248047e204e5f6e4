"""Claims and their verdicts."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from jssl import study
from jssl.errors import ConfigError
from jssl.study import ledger


@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_is_that_of_a_paired_t_test(n, confidence):
  rng = np.random.default_rng(n)
  better, worse = rng.normal(0.3, 1, n), rng.normal(0, 1, n)
  found = study.paired_interval(better - worse, confidence)
  expected = stats.ttest_rel(better, worse).confidence_interval(confidence)
  np.testing.assert_allclose(found, [np.mean(better - worse), expected.low, expected.high], rtol=1e-12)


def test_too_few_numbers_have_no_interval():
  assert all(map(math.isnan, study.paired_interval([])))
  mean, low, high = study.paired_interval([2.0])
  assert mean == 2.0 and math.isnan(low) and math.isnan(high)


def rows(better, worse):
  return [
    dict(arm=arm, seed=seed, metrics=dict(score=value))
    for arm, values in (("a", better), ("b", worse))
    for seed, value in enumerate(values)
  ]


# Differences of 1.0, 1.1, 0.9: mean 1.0, interval +-0.2484 (t = 4.3027, s = 0.1).
WORSE = [5.0, 2.0, 7.0]
NEAR_ONE = [6.0, 3.1, 7.9]


@pytest.mark.parametrize(
  "better, worse, numbers, word",
  [
    (NEAR_ONE, WORSE, {}, "shown"),
    (NEAR_ONE, WORSE, dict(at_least=0.75), "shown"),
    (NEAR_ONE, WORSE, dict(at_least=0.76), "not shown"),
    (NEAR_ONE, WORSE, dict(at_least=2.0), "not shown"),  # too small an effect is not one the other way
    (WORSE, NEAR_ONE, {}, "contrary"),
    (WORSE, NEAR_ONE, dict(lower=True), "shown"),
    (NEAR_ONE, WORSE, dict(lower=True), "contrary"),
    ([6.0, 1.0, 8.0], WORSE, {}, "not shown"),
    (WORSE, WORSE, {}, "not shown"),  # nothing is no more than nothing
    (NEAR_ONE[:2], WORSE, {}, ""),
    ([6.0, 3.1, None], WORSE, {}, ""),
    # That it is not worse by a margin: of b less a the interval is from -1.248 to -0.752.
    (WORSE, NEAR_ONE, dict(margin=1.25), "shown"),
    (WORSE, NEAR_ONE, dict(margin=1.24), "not shown"),
    (WORSE, NEAR_ONE, dict(margin=0.75), "contrary"),
    (NEAR_ONE, WORSE, dict(margin=0.75, lower=True), "contrary"),
    (WORSE, WORSE, dict(margin=0.01), "shown"),
    (NEAR_ONE, WORSE, dict(margin=0.01), "shown"),
    (WORSE[:2], NEAR_ONE, dict(margin=5.0), ""),
  ],
)
def test_verdicts(better, worse, numbers, word):
  claim = study.claim("a beats b", "a", "b", metric="score", **numbers)
  assert study.verdict(claim, rows(better, worse), range(3)).word == word


def test_a_verdict_pairs_the_seeds_that_were_registered():
  claim = study.claim("a beats b", "a", "b", metric="score")
  found = study.verdict(claim, rows([*NEAR_ONE, -100.0], [*WORSE, 100.0])[::-1], range(3))
  assert found.word == "shown" and found.seeds == (0, 1, 2)
  np.testing.assert_allclose(found[1:4], [1.0, 1.0 - 0.248414, 1.0 + 0.248414], atol=1e-6)


def test_two_metrics_of_one_arm():
  claim = study.claim("beats its control", "a", "a", metric=("knn/k20", "raw pixels/knn/k20"))
  both = [dict(arm="a", seed=s, metrics={"knn/k20": 0.5 + s / 100, "raw pixels/knn/k20": 0.3 + s / 100}) for s in range(3)]
  found = study.verdict(claim, both, range(3))
  assert found.word == "shown" and found.difference == pytest.approx(0.2)


def test_claims_that_say_nothing_are_refused():
  with pytest.raises(ConfigError, match="name two arms"):
    study.claim("a beats a", "a", "a", metric="score")
  with pytest.raises(ConfigError, match="exchange the arms"):
    study.claim("a beats b", "a", "b", metric="score", at_least=-1.0)
  for numbers in (dict(margin=-0.1), dict(margin=0.1, at_least=0.1)):
    with pytest.raises(ConfigError, match="a margin above 0 for what is not worse, or at_least for what is better"):
      study.claim("a is not below b", "a", "b", metric="score", **numbers)


def test_a_claim_of_an_older_study_has_no_margin(tmp_path):
  entry = dict(sentence="a beats b", better="a", worse="b", metric=["score", "score"], at_least=0.1, lower=False)
  (tmp_path / "claims.json").write_text(json.dumps(dict(claims=[dict(claim=entry, seeds=[0], commit=None, rows_before=0)])))
  claim = study.claim("a beats b", "a", "b", metric="score", at_least=0.1)
  assert [registered.claim for registered in study.Ledger(tmp_path).claims()] == [claim]
  with pytest.raises(ConfigError, match="margin=0.0, .*now .*margin=0.2"):
    kept = study.Ledger(tmp_path)
    kept.append(dict(arm="a", seed=0, metrics={}))
    kept.register([claim._replace(margin=0.2, at_least=0.0)], [0])


def test_a_table_says_what_is_not_below_what():
  claim = study.claim("a is not below b", "a", "b", metric="score", margin=0.5)
  entry = ledger.Registered(claim, (0, 1, 2), None)
  line = ledger.claims_table([(entry, study.verdict(claim, rows(NEAR_ONE, WORSE), range(3)))]).splitlines()[-1]
  assert line == "| a is not below b | score | -0.5 | +1.0000 [+0.7516, +1.2484] | 3 of 3 | shown |"
