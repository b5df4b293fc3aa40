"""The experiments of applications as commands: small ones by default, the full ones as slow tests."""

import json

import hydra
import numpy as np
import pytest
from omegaconf import OmegaConf

from experiments.harness.config.schema import check
from experiments.harness.config.trust import CONFIGS
from tests.experiments.small_runs import run

SMALL = ["training.iterations=4", "evaluation.steps=25", "tracking=none", "diagnostics.interval=null"]
SMALL += ["run.check_derivatives=false", "training.jit_compile=false", "learner.steps=2"]

CLEANING = ["experiment=cleaning/digits", "task.sizes=[20,10,5,15]", "problem.batch=10"]


@pytest.fixture
def blots(tmp_path):
    """Return the setting of a file of noisy patterns of ten classes."""
    random, classes = np.random.default_rng(0), np.arange(60) % 10
    inputs = random.normal(size=(10, 64))[classes] + 0.1 * random.normal(size=(60, 64))
    np.savez(tmp_path / "blots.npz", inputs=inputs, targets=classes)
    return f"task.path={tmp_path / 'blots.npz'}"


def evaluation(runs, name):
    (path,) = (runs / name).iterdir()
    return json.loads((path / "evaluation.json").read_text())


def test_cleaning_reports_what_it_found(tmp_path, capfd, blots):
    assert run(tmp_path / "runs", [*CLEANING, blots, *SMALL]) == 0
    stored = evaluation(tmp_path / "runs", "cleaning")
    printed = capfd.readouterr().out
    assert set(stored["metrics"]) == {"accuracy", "f1"}
    assert stored["metrics"]["accuracy"]["mean"][-1] > stored["metrics"]["accuracy"]["mean"][0]
    assert " f1 " in printed
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("│")] == [
        "0",
        "1",
        "2",
        "5",
        "10",
        "20",
        "25",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["task.corruption=1"], "task.corruption=1 must be a number from 0 to below 1"),
        (["model.output_size=5"], "but there are 5, 0 to 4: relabel them"),
        (["problem.batch=7"], "batch=7 does not divide the 20 examples"),
        (["task.sizes=[20,10,5]"], "must be four integers"),
        (["+problem.strength=1"], "there is no setting problem.strength"),
        (["rule.learning_rate=-1"], "learning_rate=-1 must be"),
    ],
)
def test_what_cannot_be_is_said_before_training(tmp_path, capfd, blots, arguments, message):
    assert run(tmp_path / "runs", [*CLEANING, blots, *SMALL, *arguments]) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


ADVERSARIAL = ["experiment=adversarial/digits", "task.sizes=[0,30,10,20]", "task.batch=10"]
ADVERSARIAL += ["training.iterations=4", "tracking=none", "run.check_derivatives=false"]
ADVERSARIAL += ["training.jit_compile=false", "evaluation.attacks.steps=2"]
ADVERSARIAL += ["learner.attack.steps=2"]
WIDE = ["learner.attack.bounds=[-9,9]", "evaluation.attacks.bounds=[-9,9]"]


def test_a_run_is_judged_by_attacks(tmp_path, capfd, blots):
    """The evaluation reports accuracies after attacks, for a run that is trained without attacks."""
    assert run(tmp_path / "runs", [*ADVERSARIAL, blots, *WIDE, "evaluation.attacks.radii=[0,5]"]) == 0
    found = evaluation(tmp_path / "runs", "adversarial")["metrics"]
    assert set(found) == {"accuracy", "accuracy@0", "accuracy@5"}
    assert found["accuracy@0"]["mean"] >= found["accuracy"]["mean"] >= found["accuracy@5"]["mean"]
    assert "accuracy@5: " in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "outside the bounds (0.0, 1.0)"),
        ([*WIDE, "learner.attack.radius=-1"], "learner.attack.radius=-1 must be a finite number of at least"),
        ([*WIDE, "evaluation.attacks.radii=[0.1,-2]"], "radius must be at least 0, got -2"),
        ([*WIDE, "evaluation.attacks.radii=[1,1]"], "two of [1.0, 1.0] are equal"),
        ([*WIDE, "learner.attack._target_=os.system"], "is not allowed"),
    ],
)
def test_attacks_that_cannot_be_are_refused(tmp_path, capfd, blots, arguments, message):
    assert run(tmp_path / "runs", [*ADVERSARIAL, blots, *arguments]) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_adversarial_training(tmp_path, seed):
    """At radius 0.17, PGD-20 leaves below 0.05 of plain accuracy, and at least 0.6 after the training.

    The accuracy without attacks is above 0.9.
    """
    seeds = f"seed={seed}", f"task.seed={seed}"
    plain, hardened = (reached(tmp_path, f"adversarial/digits{which}", *seeds) for which in ("_plain", ""))
    assert plain["accuracy@0.17"] < 0.05
    assert hardened["accuracy@0.17"] >= 0.6
    assert hardened["accuracy@0"] > 0.9


def reached(runs, experiment, *arguments):
    """Return accuracy, and what else is reported, at the end of an experiment's evaluation."""
    pytest.importorskip("sklearn")
    settings = [f"experiment={experiment}", "tracking=none", "diagnostics.interval=null", *arguments]
    assert run(runs / experiment, settings, quick=False) == 0
    stored = evaluation(runs / experiment, experiment.partition("/")[0])
    found = {name: curve["mean"][-1] for name, curve in stored["metrics"].items()}
    return {**found, "loss": stored["mean"][-1]}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_labels_wrong(tmp_path, seed):
    """With half of the labels wrong, F1 is at least 0.9, and the accuracy near that of the correct half.

    It is at most 1.5 points lower than by training on the correct half only.
    """
    seeds = f"seed={seed}", f"task.seed={seed}"
    found, noisy, oracle, clean = (
        reached(tmp_path, f"cleaning/digits{which}", *seeds) for which in ("", "_noisy", "_oracle", "_clean")
    )
    assert found["f1"] >= 0.9
    assert found["accuracy"] >= oracle["accuracy"] - 0.015
    assert noisy["accuracy"] < oracle["accuracy"] - 0.05
    assert clean["accuracy"] >= oracle["accuracy"] - 0.01


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("experiment", "least"), [("distill/digits", 0.9), ("distill/digits_mlp", 0.85)])
def test_ten_images_are_enough(tmp_path, experiment, least, seed):
    """Ten learned images reach the stated accuracy, ten real ones less than 0.75."""
    seeds = f"seed={seed}", f"task.seed={seed}"
    assert reached(tmp_path / "learned", experiment, *seeds)["accuracy"] >= least
    real = reached(tmp_path / "real", experiment, *seeds, "estimator=frozen", "training.iterations=1")
    assert real["accuracy"] < 0.75


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["hpo/ridge", "hpo/logistic"])
def test_learned_penalties_help(tmp_path, experiment):
    found = reached(tmp_path / "learned", experiment)
    before = reached(tmp_path / "before", experiment, "estimator=frozen", "training.iterations=1")
    assert found["loss"] < 0.8 * before["loss"]


@pytest.mark.slow
def test_schedules_help(tmp_path):
    """With learned rates and decays for each of 100 steps, the loss is below 0.8 of that before."""
    found = reached(tmp_path / "learned", "hpo/network")
    before = reached(tmp_path / "before", "hpo/network", "estimator=frozen", "training.iterations=1")
    assert found["loss"] < 0.8 * before["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_wrong_labels_of_unseen_examples(tmp_path, seed):
    """The area under the ROC curve of wrong labels is at least 0.9 on test images, half of them wrong."""
    assert reached(tmp_path, "cleaning/datarater", f"seed={seed}", f"task.seed={seed}")["auc"] >= 0.9


FROZEN = ("estimator=frozen", "training.iterations=1")


@pytest.mark.slow
def test_compression(tmp_path):
    """Learned masks are better than magnitudes by 20 points, and 3 bits within 2 points of 16 bits.

    The accuracy with learned soft targets is above 0.9.
    """
    masks = reached(tmp_path / "learned", "compress/prune")
    magnitude = reached(tmp_path / "size", "compress/prune", "problem.scores=magnitude", *FROZEN)
    assert masks["accuracy"] > magnitude["accuracy"] + 0.2
    coarse = reached(tmp_path / "coarse", "compress/quantise")
    fine = reached(tmp_path / "fine", "compress/quantise", "problem.bits=16", *FROZEN)
    assert coarse["accuracy"] > fine["accuracy"] - 0.02
    assert reached(tmp_path / "taught", "compress/distil")["accuracy"] > 0.9


def test_pages_are_composed():
    """Pages are composed and checked as by a command."""
    pages = ["adversarial/digits_plain", "cleaning/datarater", "hpo/network"]
    pages += [f"compress/{page}" for page in ("prune", "quantise", "distil")]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for page in pages:
            check(OmegaConf.to_container(hydra.compose("train", [f"experiment={page}"]), resolve=True))
