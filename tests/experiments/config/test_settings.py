"""Declarations and ``conf/`` agree: every setting is declared, and every declaration has a setting."""

import inspect

import hydra
import pytest
from omegaconf import OmegaConf

import metalearn as ml
from experiments.harness.app.application import CONFIGS
from experiments.harness.config import schema, targets
from experiments.harness.config.part_settings import PARTS, PLACES
from experiments.harness.config.settings import SETTINGS, TAKEN
from experiments.harness.errors import UsageError

HYDRA = ("hydra", "defaults")

OBJECTS = {
    "task": "metalearn.tasks experiments.data",
    "model": "metalearn.models",
    "rule": "metalearn.rules",
    "estimator": "metalearn.estimators",
    "problem": "metalearn.problems metalearn.compress",
    "head": "metalearn.heads",
    "step_weights": "metalearn.step_weights",
    "attack": "metalearn.attacks",
    "environment": "metalearn.tasks.environments",
    "optimizer": "keras.optimizers",
    "schedule": "keras.optimizers.schedules",
}

NOT_DESCRIBED = {"FewShot", "Source", "as_source", "check_sampler", "dataset", "from_arrays", "from_function"}
NOT_DESCRIBED |= {"BilevelLearner", "BilevelProblem", "Learner", "MetaLearner", "Noisy", "SecondDerivatives"}
NOT_DESCRIBED |= {"adapted", "check_second_derivatives", "slices", "step_weights", "unrolled_players"}
NOT_DESCRIBED |= {"damage", "first_step_sizes", "grasp", "magnitude", "mask_problem", "masked", "masks"}
NOT_DESCRIBED |= {"prunable", "quantization_problem", "quantize", "snip", "soft_target_loss"}
NOT_DESCRIBED |= {"soft_target_problem", "surgeon", "Surgeon"}
NOT_DESCRIBED |= {"Environment", "Episodes", "Noise", "Robust", "Spec", "judged", "on_queries", "to_keras"}
NOT_DESCRIBED |= {"prefetched", "spec", "task_bytes", "get", "linear_head", "Estimator", "Head"}
NOT_DESCRIBED |= {"Gymnasium", "natural"}
"""What takes arrays, functions or objects that no configuration describes."""


NAMED = ["label=maml", "name=sinusoid"]


def composed(command, *words):
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose(command, [*words, *NAMED] if command == "train" else [])
    return OmegaConf.to_container(config, resolve=command == "train")


@pytest.fixture(scope="module")
def pages():
    """All settings of a training with their values, by the pages from which they can be composed."""
    found = []
    for path in sorted(CONFIGS.rglob("*.yaml")):
        parts = path.relative_to(CONFIGS).parts
        if len(parts) == 1 or parts[0] == "hydra":
            continue
        read = OmegaConf.to_container(OmegaConf.load(path)).items()
        page = {key: value for key, value in read if key not in HYDRA}
        found += schema.leaves(page if "@package _global_" in path.read_text() else {parts[0]: page})
    whole = [composed("train"), composed("train", "experiment=distill/digits")]
    return [*found, *(leaf for config in whole for leaf in schema.leaves(config))]


def constructors(section):
    """The public functions and classes of a package that a configuration may name, and their parameters."""
    for package in OBJECTS[section].split():
        module = targets.PACKAGES[package]
        names = set(getattr(module, "__all__", dir(module))) - NOT_DESCRIBED
        for name in sorted(names):
            if callable(getattr(module, name)) and not name.startswith("_"):
                yield name, inspect.signature(getattr(module, name)).parameters


def test_every_setting_of_a_training_is_declared(pages):
    assert len(pages) > 300
    paths = {path for path, _ in pages if not path.endswith("_target_")}
    assert {path for path in paths if schema.declared(path) is None} == set()


@pytest.mark.parametrize("command", TAKEN)
def test_every_setting_of_a_command_is_declared(command):
    """Every setting in a command's configuration has a declaration, and vice versa for most commands."""
    taken = "train" if command == "check_gradients" else command
    paths = {path for path, _ in schema.leaves(composed(command)) if not path.endswith("_target_")}
    assert {path for path in paths if schema.declared(path, taken) is None} == set()
    assert command in ("train", "check_gradients", "evaluate") or paths == {*TAKEN[command]}


def test_no_declaration_is_unused(pages):
    """Every declaration belongs to a page of ``conf/`` or to a parameter of an object that can be built."""
    used = {path for path, _ in pages} | {path.rsplit(".", 1)[0] for path, _ in pages}
    for section in OBJECTS:
        used |= {f"{section}.{name}" for _, names in constructors(section) for name in names}
    used |= {f"learned.{name}" for name in inspect.signature(ml.rules.learned).parameters}
    assert {*SETTINGS, *PARTS} - used == set()
    assert all(any(schema.re.match(place, path) for path, _ in pages) for place in PLACES)


@pytest.mark.parametrize("section", [section for section, name in OBJECTS.items() if "keras" not in name])
def test_every_parameter_of_our_objects_is_declared(section):
    undeclared = [
        f"{name}: {parameter}"
        for name, parameters in constructors(section)
        for parameter in parameters
        if name not in ("learned", "Learned")
        and schema.declared(f"{section}.{parameter}") is None
        and f"{section}.{parameter}" not in PARTS
    ]
    assert undeclared == []


def test_values_of_pages_are_of_their_kinds(pages):
    for path, value in pages:
        setting = schema.declared(path)
        if setting is not None and not (isinstance(value, str) and "${" in value):
            assert setting.kind.take(path, value) == value


def test_the_default_configuration_is_checked_to_what_it_is():
    config = composed("train")
    assert schema.check(config) == config
    described = {each.path: each for each in schema.describe(config)}
    assert len(described) > 50
    assert described["learner.steps"].default == 1
    assert described["training.clip_task_norm"].kind == "a finite number above 0, or null for none"
    assert described["evaluation.task.queries"].kind == SETTINGS["task.queries"].kind.text


LEARNED = {"_target_": "metalearn.rules.learned", "initial": 0.1}

WRAPPED = {"_target_": "metalearn.rules.momentum", "learning_rate": 0.1, "momentum": 2}

INNER = [
    ("rule", {"learning_rate": {**LEARNED, "per": "layer"}}, "rule.learning_rate.per='layer' must be one of"),
    ("rule", {"rule": WRAPPED}, "rule.rule.momentum=2 must be a number from 0 to 1"),
    ("learner", {"head": {"_target_": "metalearn.heads.ridge", "strength": 0}}, "learner.head.strength=0"),
    ("evaluation", {"task": {"shots": 0}}, "evaluation.task.shots=0 must be"),
]


@pytest.mark.parametrize(("section", "changes", "message"), INNER, ids=[case[2] for case in INNER])
def test_settings_of_objects_in_objects_are_checked(section, changes, message):
    config = composed("train")
    config[section] |= changes
    with pytest.raises(UsageError) as refused:
        schema.check(config)
    assert message in str(refused.value)


def test_settings_of_other_objects_are_theirs():
    """Settings of a user's model and task may have any values, also if they have names of declared ones."""
    config = composed("train")
    config["packages"] = ["mylab"]
    config["model"] = {"_target_": "mylab.models.net", "hidden": 40}
    config["task"] = {"_target_": "mylab.tasks.Waves", "amplitude": "large"}
    config["evaluation"]["task"] = {"amplitude": "small"}
    config["validation"]["task"] = {}
    assert schema.check(config) == config
    described = {each.path: each for each in schema.describe(config)}
    assert described["model.hidden"].default == 40
