"""A set of the size of mini-ImageNet: trained from and evaluated on, in a process of its own."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, time

import keras
import numpy as np

import metalearn as ml

random = np.random.default_rng(0)
images = [random.integers(0, 256, (600, 84, 84, 3), np.uint8) for _ in range(100)]
tasks = ml.tasks.FewShot(images, ways=5, shots=1, queries=15, split=(64, 16, 20))
learner = ml.MetaLearner(
    ml.models.conv4((84, 84, 3), ways=5, filters=32), "cross_entropy", ml.rules.sgd(0.01), statistics="batch"
)
optimizer, train = keras.optimizers.Adam(1e-3), tasks.split("train")
trainer = ml.MetaTrainer(learner, train, optimizer, meta_batch_size=4, check_derivatives=False)
begun = time.perf_counter(), time.process_time()
trainer.run(1)
ended = time.perf_counter(), time.process_time()
loss = ml.evaluate(learner, trainer.meta, tasks.split("test"), num_tasks=8, steps=1).mean
print(json.dumps({
    "bytes": sum(map(len, images)) * images[0][0].nbytes,
    "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "first call": [after - before for before, after in zip(begun, ended)],
    "finite": bool(np.isfinite(loss).all()),
}))
"""


@pytest.mark.slow
def test_it_trains_within_five_gigabytes():
    """Training and evaluation on 100 x 600 images of 84 x 84 need less than 5 GB."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    sys.stdout.write(f"{found}\n")
    assert found["bytes"] == 100 * 600 * 84 * 84 * 3
    assert found["finite"]
    assert found["peak"] < 5e9, found
