"""Meta-training: the results of a run, which do not depend on its division into calls."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.training import blocks

BLOCK, TASKS, SEED = 5, 10, 3
SCHEDULE = {"initial_learning_rate": 0.02, "decay_steps": 100, "decay_rate": 0.2}
CUTS = (1, 2, 3, 5, 1)


@pytest.fixture(scope="module", autouse=True)
def short_blocks():
    """Make blocks of tasks five iterations long, so that short runs cross them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_ITERATIONS", BLOCK)
        yield


def adam():
    """Return an optimizer with a schedule and clipping."""
    schedule = keras.optimizers.schedules.InverseTimeDecay(**SCHEDULE)
    return keras.optimizers.Adam(schedule, clipnorm=10.0)


def make(optimizer=None, tasks=None, hidden=40, **arguments):
    """Return a trainer on sinusoids; by default the one that most tests share."""
    model = ml.models.mlp(hidden=(hidden,), activation=tf.sin)
    learner = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1))
    tasks = tasks or ml.tasks.Sinusoid()
    return ml.MetaTrainer(learner, tasks, optimizer or adam(), TASKS, SEED, **arguments)


def small(optimizer=None, **arguments):
    """Return a trainer of a small model, not compiled with XLA, whose derivatives are not checked."""
    arguments |= {"hidden": 4, "jit_compile": False, "check_derivatives": False}
    return make(optimizer or keras.optimizers.SGD(0.05), **arguments)


def assert_same_bits(left, right):
    """Check that two dictionaries of arrays are equal in names, types and bits."""
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert value.dtype == right[name].dtype
        assert value.tobytes() == right[name].tobytes(), name


def joined(histories):
    """Return the history of several runs as that of one."""
    return {name: np.concatenate([history[name] for history in histories]) for name in histories[0]}


@dataclasses.dataclass
class Runs:
    """The results of the shared trainer: 12 iterations in one call, and in several."""

    trainer: ml.MetaTrainer
    states: list
    whole: dict
    pieces: list
    compiled: list


@pytest.fixture(scope="module")
def runs(compiles):
    """Run the shared trainer, recording what XLA compiles."""
    trainer, histories, states = make(), [], []

    def run(iterations):
        histories.append(trainer.run(iterations))

    states.append(trainer.state())
    compiled = [compiles(lambda: run(sum(CUTS)))]
    final = trainer.state()
    trainer.restore(states[0])
    for count in CUTS:
        compiled.append(compiles(lambda count=count: run(count)))
        states.append(trainer.state())
    return Runs(trainer, [*states, final], histories[0], histories[1:], compiled)


def test_history_has_a_row_an_iteration(runs):
    """Each metric has one finite number for each iteration, and norms are consistent.

    Losses that need additional passes are in one row of ten, and NaN in the others.
    """
    names = [f"parameters/{key}" for key in ml.functional.parameters(runs.trainer.learner.model)]
    norms = {f"meta_gradient/norm/{name}" for name in names}
    assert runs.whole.keys() == norms | {
        *("inner/loss_before", "inner/loss", "outer/loss_before", "outer/loss"),
        *("meta_gradient/norm", "learning_rate"),
    }
    due = np.arange(sum(CUTS)) % 10 == 0
    for name, values in runs.whole.items():
        assert values.shape == (sum(CUTS),)
        sparse = name in ("inner/loss_before", "inner/loss", "outer/loss_before")
        np.testing.assert_array_equal(np.isfinite(values), due if sparse else np.full(len(due), True))
        assert not np.isinf(values).any()
    total = np.sqrt(sum(np.square(runs.whole[name]) for name in norms))
    np.testing.assert_allclose(runs.whole["meta_gradient/norm"], total, rtol=1e-5)


def test_cuts_do_not_change_the_bits(runs):
    """12 iterations in one call have the bits of 1 + 2 + 3 + 5 + 1, within and across blocks of five."""
    assert_same_bits(joined(runs.pieces), runs.whole)
    assert_same_bits(runs.states[-2], runs.states[-1])
    assert runs.states[-1]["iteration"] == sum(CUTS)


def test_only_the_first_call_compiles(runs):
    """Later calls with other values, counts and offsets are neither traced nor compiled again."""
    assert runs.compiled == [True] + [False] * len(CUTS)
    assert runs.trainer._calls._program.experimental_get_tracing_count() == 1
    assert runs.trainer._blocks._sample.experimental_get_tracing_count() == 1


def test_learning_rate_follows_the_schedule(runs):
    """The rate at iteration i is ``initial

    (1 + decay i

    steps)``, to one unit in the last place.
    """
    rates = 0.02 / (1 + 0.2 * np.arange(sum(CUTS)) / 100)
    np.testing.assert_allclose(runs.whole["learning_rate"], rates, rtol=2e-7)


@pytest.mark.slow
def test_a_fresh_trainer_goes_on_with_the_same_bits(runs):
    """From the state after 3 iterations, a new trainer has the same 9 others, in bits."""
    trainer = make(check_derivatives=False)
    trainer.restore(runs.states[2])
    assert trainer.iteration == 3
    assert_same_bits(trainer.run(9), {name: values[3:] for name, values in runs.whole.items()})
    assert_same_bits(trainer.state(), runs.states[-1])


def test_learns(runs):
    """The mean query loss of the last 50 of 300 iterations is below half that of the first 50."""
    runs.trainer.restore(runs.states[0])
    losses = runs.trainer.run(300)["outer/loss"]
    assert losses[-50:].mean() < 0.5 * losses[:50].mean()


def test_an_update_is_a_step_down_the_meta_gradient(in_graph):
    """The update is ``-rate g``, g clipped by variable to norm 0.35, for the tasks of (seed, i)."""
    trainer = small(keras.optimizers.SGD(0.05, clipnorm=0.35), loss_interval=3)
    trainer.run(6)
    before = trainer.meta
    history = trainer.run(1)
    block = trainer.tasks.sample((SEED, 1), BLOCK * TASKS)
    tasks = tf.nest.map_structure(lambda leaf: leaf[TASKS : 2 * TASKS], block)
    result = in_graph(trainer.learner.meta_gradient)(before, tasks)
    for name, losses in in_graph(trainer.learner.losses)(before, tasks, result.inner).items():
        np.testing.assert_allclose(history[name], [np.mean(losses)], rtol=1e-5)
    lengths = []
    for key, gradient in result.gradient["parameters"].items():
        norm = np.linalg.norm(gradient)
        lengths.append(min(1.0, 0.35 / norm))
        np.testing.assert_allclose(history[f"meta_gradient/norm/parameters/{key}"], [norm], rtol=1e-5)
        np.testing.assert_allclose(trainer.last_gradient["parameters"][key], gradient, rtol=1e-4, atol=1e-5)
        moved = trainer.meta["parameters"][key] - before["parameters"][key]
        np.testing.assert_allclose(moved, -0.05 * lengths[-1] * gradient, rtol=1e-4, atol=1e-6)
    assert min(lengths) < 0.9
    assert max(lengths) == 1.0


@dataclasses.dataclass
class Poisoned:
    """Sinusoids with NaN as targets of the queries of one iteration."""

    iteration: int
    tasks: ml.tasks.Sinusoid = dataclasses.field(default_factory=ml.tasks.Sinusoid)

    def sample(self, seed, tasks):
        """Draw tasks; NaN in query targets of one block's tasks of one iteration."""
        drawn = self.tasks.sample(seed, tasks)
        block, offset = divmod(self.iteration, BLOCK)
        bad = (tf.range(tasks) // TASKS == offset) & (tf.convert_to_tensor(seed)[1] == block)
        targets = tf.where(bad[:, None, None], np.nan, drawn.query.targets)
        return ml.Task(drawn.support, ml.Batch(drawn.query.inputs, targets))


@pytest.mark.parametrize("iteration", [0, 7])
def test_a_loss_that_is_not_finite_stops_the_run(iteration):
    """The error names iteration and tensors, and the state has the bits of the iterations before."""
    trainer = small(tasks=Poisoned(iteration))
    start = trainer.state()
    with pytest.raises(ml.NonFiniteError, match=f"iteration {iteration}: not finite: .*outer/loss") as error:
        trainer.run(12)
    names = {f"parameters/{key}" for key in ml.functional.parameters(trainer.learner.model)}
    assert error.value.iteration == trainer.iteration == iteration
    before = {"outer/loss_before"} if iteration == 0 else set()  # which is in one row of ten
    assert set(error.value.tensors) == {*before, "outer/loss", "meta_gradient/norm", *names}
    stopped = trainer.state()
    assert all(np.all(np.isfinite(value)) for value in stopped.values())
    with pytest.raises(ml.NonFiniteError, match=f"iteration {iteration}:"):
        trainer.run(1)
    assert_same_bits(trainer.state(), stopped)
    trainer.restore(start)
    if iteration:
        trainer.run(iteration)
    assert_same_bits(trainer.state(), stopped)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"meta_batch_size": 0}, "meta_batch_size must be an integer of at least 1, got 0"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"seed": 1.5}, "seed must be an integer of at least 0, got 1.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    """The message names the argument and its value."""
    learner = ml.MetaLearner(ml.models.mlp(hidden=()), ml.losses.mse, ml.rules.sgd())
    with pytest.raises(ValueError, match=message):
        ml.MetaTrainer(learner, ml.tasks.Sinusoid(), keras.optimizers.SGD(0.1), **arguments)


def test_bad_iterations_are_refused():
    """The number of iterations must be at least 1."""
    with pytest.raises(ValueError, match="iterations must be an integer of at least 1, got 0"):
        small().run(0)


def test_used_optimizers_are_refused():
    """An optimizer with the state of another training is an error."""
    optimizer = keras.optimizers.SGD(0.1)
    small(optimizer)
    with pytest.raises(ValueError, match=r"already holds the state of another training.*: make a new one"):
        small(optimizer)


def test_models_that_do_not_fit_the_tasks_are_refused():
    """The message names both shapes, before anything is compiled."""
    learner = ml.MetaLearner(ml.models.mlp(3, ()), ml.losses.mse, ml.rules.sgd())
    with pytest.raises(ValueError, match=r"inputs of shape \(3,\), the tasks have \(1,\)"):
        ml.MetaTrainer(learner, ml.tasks.Sinusoid(), keras.optimizers.SGD(0.1))


def test_loaded_parameters_are_trained_on():
    """The next update starts from the loaded parameters; the optimizer's state does not change."""
    trainer = small(keras.optimizers.SGD(0.05, momentum=0.5))
    trainer.run(2)
    before, meta = trainer.state(), trainer.learner.initialize(9)
    trainer.load(tf.nest.map_structure(lambda leaf: leaf.numpy(), meta))
    after = trainer.state()
    moved = {name for name in after if after[name].tobytes() != before[name].tobytes()}
    assert {name for name in moved if name.startswith("meta/")} == moved
    assert "meta/parameters/hidden_0/kernel" in moved
    key = "optimizer/parameters.output.bias_momentum"
    gradient = trainer.learner.meta_gradient(meta, trainer.training_tasks(2)).gradient
    trainer.run(1)
    expected = meta["parameters"]["output/bias"] - 0.05 * gradient["parameters"]["output/bias"]
    expected += 0.5 * before[key]
    np.testing.assert_allclose(trainer.meta["parameters"]["output/bias"], expected, rtol=1e-5)


def test_what_is_not_structured_as_the_meta_parameters_is_not_loaded():
    trainer, wider = small(), make(hidden=5, jit_compile=False).meta
    before = trainer.state()
    with pytest.raises(
        ValueError, match=r"meta has float32 \(5,\) at parameters/hidden_0/bias, where .*\(4,\) is"
    ):
        trainer.load(wider)
    with pytest.raises(
        ValueError, match=r"meta does not have the expected structure: missing \['parameters/hidden_0/bias'"
    ):
        trainer.load({"parameters": {}, "rule": {}})
    assert_same_bits(trainer.state(), before)
