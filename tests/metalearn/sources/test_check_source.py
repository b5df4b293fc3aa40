"""The public conformance check of sources: valid sources pass, and each violation is found."""

import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.random import normal
from metalearn.testing import check_source


class Good:
    """A valid source, from which the tests derive invalid ones."""

    def sample(self, seed, tasks):
        if isinstance(tasks, bool) or not isinstance(tasks, int) or tasks < 1:
            raise ValueError("tasks")
        x = normal([tasks, 4, 1], seed)
        return ml.Task(support=ml.Batch(x, x), query=ml.Batch(x, x))


def broken(name, method):
    return type("Broken", (Good,), {name: method})()


def drawn(seed, tasks):
    return Good().sample(seed, tasks)


def without_check(self, seed, tasks):
    return drawn(seed, max(tasks, 1) if isinstance(tasks, int) else 1)


def clipped(self, seed, tasks):
    return drawn(tf.maximum(tf.convert_to_tensor(seed), 0), tasks)


def narrow(self, tasks):
    return tf.nest.map_structure(lambda leaf: leaf[:, :3], drawn((0, 0), tasks))


def half(self, tasks):
    return drawn((0, 0), tasks)._replace(query=())


@pytest.mark.parametrize("source", [Good(), ml.tasks.Sinusoid(), ml.tasks.Linear(), ml.tasks.Step(grid=True)])
def test_sources_that_keep_the_contract_pass(source):
    check_source(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (object(), "object has no method sample"),
        (broken("sample", lambda self, seed, tasks: drawn((0, 0), tasks)), "it ignores the seed"),
        (broken("sample", without_check), r"sample\(seed, 0\) has to raise ValueError"),
        (broken("spec", half), r"draws \['support/inputs', .*but specifies"),
        (broken("spec", narrow), r"draws float32 \(1, 4, 1\) at support/inputs, but specifies"),
        (broken("sample", clipped), "draws the tasks of training for the seed .* of evaluation"),
        (broken("split", lambda self, part: None), r"split\('train'\) is not a source"),
        (broken("constant", True), "declares constant=True"),
    ],
)
def test_every_breach_is_named(source, message):
    with pytest.raises(AssertionError, match=message):
        check_source(source)
