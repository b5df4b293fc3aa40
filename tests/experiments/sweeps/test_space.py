"""Conversion of Hydra's sweep syntax to Optuna's distributions."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna import create_study, logging
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from experiments.harness.errors import UsageError
from experiments.harness.sweeps.space import distribution, suggest

CASES = {
    "x=interval(0.1,1)": FloatDistribution(0.1, 1.0),
    "x=int(interval(1,9))": IntDistribution(1, 9),
    "x=tag(log,interval(1e-3,1))": FloatDistribution(1e-3, 1.0, log=True),
    "x=range(1,6)": IntDistribution(1, 5),
    "x=range(9,0,-3)": IntDistribution(3, 9, step=3),
    "x=range(0,1,0.25)": FloatDistribution(0, 0.75, step=0.25),
    "x=range(0,1000000000000)": IntDistribution(0, 10**12 - 1),
    "x=range(0,10,5)": IntDistribution(0, 5, step=5),
    "x=choice(sgd,adam)": CategoricalDistribution(["sgd", "adam"]),
    "x=1,2": CategoricalDistribution(["1", "2"]),
}


def parsed(text):
    return OverridesParser.create().parse_override(text)


@pytest.mark.parametrize(("text", "expected"), CASES.items())
def test_it_is_the_distribution_that_was_meant(text, expected):
    found = distribution(parsed(text))
    assert found == expected
    logging.set_verbosity(logging.ERROR)
    study = create_study(sampler=RandomSampler(seed=0))
    for _ in range(5):
        trial = study.ask()
        suggest(trial, "x", found)
        assert expected._contains(expected.to_internal_repr(trial.params["x"]))


@pytest.mark.parametrize("text", ["x=interval(2,1)", "x=tag(log,interval(0,1))"])
def test_what_holds_no_value_is_said(text):
    with pytest.raises(UsageError, match="nothing to choose from"):
        distribution(parsed(text))
