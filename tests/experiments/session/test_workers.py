"""Runs with two workers: equal to runs with one, killed and resumed, started manually and by Slurm."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from experiments import reproduce
from experiments.harness.runs import metrics
from experiments.harness.session import workers
from tests.documents import GUIDE
from tests.experiments.small_runs import SETTINGS, call, content, folder, run

SHARED = [*SETTINGS, "training.iterations=1500", "training.carry=700", "training.workers=2"]
SHARED += ["training.jit_compile=false"]

BOUND = 60
"""Seconds in which the others of a worker that was killed have ended: TensorFlow's heartbeats take ten."""


@contextmanager
def process(runs, environment=(), arguments=SHARED):
    """Start the command."""
    command = [sys.executable, "-m", "experiments.train", *arguments, f"paths.runs={runs}"]
    variables = {**os.environ, "PYTHONPATH": ".", "PYTHONUNBUFFERED": "1", **dict(environment)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=variables, **pipes) as started:
        yield started
        started.kill()


def wait_for_training(started):
    """Wait until a command reports that it has trained."""
    assert any(line.startswith("iteration ") for line in started.stdout)


def worker(started, index):
    """Return the process of a worker that a command has started."""
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    for child in map(int, children):
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        (described,) = (each[10:] for each in variables if each.startswith(b"TF_CONFIG="))
        if json.loads(described)["task"]["index"] == index:
            return child
    raise AssertionError(children)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An uninterrupted run with two workers."""
    runs = tmp_path_factory.mktemp("shared")
    assert run(runs, SHARED, quick=False) == 0
    return runs


@pytest.mark.slow
def test_two_workers_train_as_one_and_are_reproduced(shared, tmp_path, capfd):
    """Two workers' first metrics equal one worker's to 1e-6, later ones to 2 %; the run is reproduced."""
    assert run(tmp_path, [*SHARED, "training.workers=1"], quick=False) == 0
    one, two = (metrics.read(folder(runs).metrics) for runs in (tmp_path, shared))
    assert list(one) == list(two)
    for name, values in one.items():
        np.testing.assert_allclose(two[name][0], values[0], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(two[name], values, rtol=0.02, atol=1e-3, err_msg=name)
    assert "TF_CONFIG" not in json.loads(folder(shared).manifest.read_text())["environment"]
    capfd.readouterr()
    assert call(reproduce, f"run={folder(shared).path}") == 0
    assert "same: " in capfd.readouterr().out
    assert run(shared, SHARED) == 0
    assert "complete since" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_is_killed_and_the_run_ends_with_equal_bits(shared, tmp_path, index):
    with process(tmp_path) as started:
        wait_for_training(started)
        os.kill(worker(started, index), signal.SIGKILL)
        printed, errors = started.communicate(timeout=BOUND)
    assert started.returncode == 1
    assert errors.count(f"stopped: worker {1 - index} of 2 (from 0) cannot reach the others") == 1
    assert "Traceback" not in printed + errors
    manifest = json.loads(folder(tmp_path).manifest.read_text())
    assert manifest["status"] == ("running" if index == 0 else "interrupted")
    assert run(tmp_path, SHARED, quick=False) == 0
    assert content(folder(tmp_path)) == content(folder(shared))
    assert len(json.loads(folder(tmp_path).manifest.read_text())["resumed"]) == 1


@pytest.mark.slow
def test_it_is_stopped_and_ends_with_equal_bits(shared, tmp_path):
    """After SIGTERM and after the command's death, workers end, and resumed runs have equal bits."""
    with process(tmp_path) as started:
        wait_for_training(started)
        cores = [os.sched_getaffinity(worker(started, index)) for index in range(2)]
        assert cores == list(map(set, workers._shares(2)))
        started.send_signal(signal.SIGTERM)
        printed, errors = started.communicate(timeout=BOUND)
    assert started.returncode == 130, errors
    assert "resume with: python -m experiments.train" in printed
    with process(tmp_path) as started:
        wait_for_training(started)
        places = [Path(f"/proc/{worker(started, index)}") for index in range(2)]
        started.kill()
        started.stdout.read()  # ends with the last process that has it
        assert not any(place.exists() and "Z" not in (place / "stat").read_text() for place in places)
    assert by_hand(tmp_path, clustered()) == [0, 0]
    assert content(folder(tmp_path)) == content(folder(shared))
    assert len(json.loads(folder(tmp_path).manifest.read_text())["resumed"]) == 2


@pytest.mark.parametrize(
    ("number", "shares"), [(1, [[2, 3, 5, 8, 9]]), (2, [[2, 3], [5, 8]]), (6, [[2, 3, 5, 8, 9]] * 6)]
)
def test_workers_have_cores_of_their_own_if_there_are_enough(monkeypatch, number, shares):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {9, 2, 3, 5, 8})
    assert workers._shares(number) == shares


def clustered():
    """Return the environments that make two processes on this machine workers."""
    cluster = {"worker": [f"localhost:{port}" for port in workers._free_ports(2)]}
    described = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
    return [{"TF_CONFIG": json.dumps(each)} for each in described]


def by_hand(runs, environments):
    """Return the exit codes of a command that is started in several environments."""
    with ExitStack() as stack:
        started = [stack.enter_context(process(runs, each)) for each in environments]
        ended = [each.communicate(timeout=300) for each in started]
    assert all(errors == "" and printed == "" for printed, errors in ended[1:]), ended
    return [each.returncode for each in started]


@pytest.mark.slow
def test_slurm_says_which_worker_a_process_is(shared, tmp_path):
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost"}
    job |= {"SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_NODEID": "0"}
    described = [{**job, "SLURM_LOCALID": str(index), "SLURM_PROCID": str(index)} for index in range(2)]
    assert by_hand(tmp_path, described) == [0, 0]
    assert content(folder(tmp_path)) == content(folder(shared))


@pytest.mark.slow
def test_the_example_of_the_page_runs(tmp_path):
    """The example of the guide runs with two workers, which print the same parameters."""
    (example,) = re.findall(r"```py\n(.*?)```", (GUIDE / "workers.md").read_text(), re.DOTALL)
    path = tmp_path / "example.py"
    path.write_text(MADE + example.replace("=1000", "=5") + "print(trainer.iteration, trainer.meta)\n")
    variables = {**os.environ, "PYTHONPATH": ".", "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = [
        subprocess.Popen([sys.executable, path], env={**variables, **each}, stdout=subprocess.PIPE)
        for each in clustered()
    ]
    printed = [each.communicate(timeout=300)[0] for each in started]
    assert printed[0] == printed[1]
    assert printed[0].startswith(b"5 {")


MADE = """
import keras
import metalearn as ml


def made():
    model = ml.models.mlp(1, (4,), 1)
    learner = ml.MetaLearner(model, loss=ml.losses.mse, rule=ml.rules.sgd(0.01), steps=1)
    return learner, ml.tasks.Sinusoid(shots=5, queries=5)


"""
"""What the example takes for granted."""


def test_what_cannot_be_shared_is_said(tmp_path, monkeypatch, capsys):
    """Tasks that workers cannot share equally, and another number of workers, are errors before a start."""
    assert run(tmp_path, [*SHARED, "training.workers=3"]) == 2
    assert "training: meta_batch_size=4 cannot be divided by workers=3" in capsys.readouterr().err
    described = {"cluster": {"worker": ["a:1", "b:1", "c:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(described))
    assert run(tmp_path, SHARED) == 2
    assert "training.workers=2, but TF_CONFIG has 3 worker: make both" in capsys.readouterr().err
    assert not (tmp_path / "sinusoid").exists()
