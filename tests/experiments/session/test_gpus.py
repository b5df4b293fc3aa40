"""GPUs of workers, on a machine that only says that it has some."""

import json
import subprocess
import sys

import pytest
import tensorflow as tf

from experiments.harness.errors import UsageError
from experiments.harness.session import gpus, workers

WRITE = "import os, sys; open(sys.argv[1], 'w').write(os.environ.get('CUDA_VISIBLE_DEVICES', 'unset'))"


@pytest.fixture
def machine(monkeypatch):
    """Return a function that sets the number of GPUs, and what the user's environment lists."""

    def has(number, listed=None):
        found = [f"GPU:{each}" for each in range(number)]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: found if kind == "GPU" else [])
        monkeypatch.delenv(gpus.VISIBLE, raising=False)
        if listed is not None:
            monkeypatch.setenv(gpus.VISIBLE, listed)

    return has


@pytest.mark.parametrize(
    ("number", "listed", "seen"),
    [
        (0, None, None),
        (0, "-1", None),
        (2, None, "01"),
        (3, None, "01"),
        (2, "3,1", "31"),
        (2, "1,0,-1", "10"),
    ],
)
def test_every_worker_has_a_gpu_of_those_that_the_user_gives(machine, number, listed, seen):
    machine(number, listed)
    assert gpus.environments(2) == ([{gpus.VISIBLE: each} for each in seen] if seen else [{}, {}])


def test_workers_do_not_share_a_gpu(machine):
    machine(1)
    with pytest.raises(
        UsageError, match=r"2 workers .* there are 1: set training\.workers=1, or CUDA_VISIBLE"
    ):
        gpus.environments(2)


@pytest.mark.parametrize(("number", "seen"), [(2, ["0", "1"]), (0, ["unset", "unset"])])
def test_the_environment_of_a_worker_has_its_gpu(machine, monkeypatch, tmp_path, number, seen):
    machine(number)
    started, popen = [], subprocess.Popen

    def start(command, **options):
        started.append(json.loads(options["env"]["TF_CONFIG"])["task"]["index"])
        return popen([sys.executable, "-c", WRITE, tmp_path / f"{started[-1]}"], **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    config = {"training": {"workers": 2, "meta_batch_size": 4}}
    assert workers.start(config, {"config": config}) == 0
    assert [(tmp_path / f"{index}").read_text() for index in started] == seen


def test_tasks_of_a_step_take_the_gpus_of_their_machine_in_turn(machine, monkeypatch):
    """Or what was chosen for them, if each sees one."""
    taken = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda device, kind: taken.append(device))
    spec = tf.train.ClusterSpec({"worker": ["a:1", "a:2", "b:1", "b:2"]})

    def take():
        for index in range(4):
            gpus.take_one(tf.distribute.cluster_resolver.SimpleClusterResolver(spec, "", "worker", index))
        return taken

    machine(1)
    assert take() == []
    machine(2)
    assert take() == ["GPU:0", "GPU:1", "GPU:0", "GPU:1"]
    spec = tf.train.ClusterSpec({"worker": ["a:1", "a:2", "a:3", "b:2"]})
    with pytest.raises(UsageError, match="3 workers of this machine need a GPU each, but there are 2"):
        take()
