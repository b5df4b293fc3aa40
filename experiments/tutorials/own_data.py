# %% [markdown]
# # Your own arrays and Keras model
#
# Forty sensors have different response curves, and 30 or more measurements of each are stored. A new sensor
# is to be calibrated from five measurements. Each sensor is a task: one pair of arrays.

# %%
import tempfile
from pathlib import Path

import keras
import numpy as np

import metalearn as ml

random = np.random.default_rng(0)


def measurements(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what one sensor shows: inputs [N, 1] and targets [N, 1]."""
    gain, slope, offset = random.uniform([1, 0.5, -1], [3, 2, 1])
    x = random.uniform(-2, 2, size=(count, 1))
    return x, gain * np.tanh(slope * x) + offset + random.normal(scale=0.05, size=x.shape)


sensors = [measurements(count) for count in random.integers(30, 60, size=40)]
train = ml.tasks.from_arrays(sensors[:30], shots=5, queries=15)
test = ml.tasks.from_arrays(sensors[30:], shots=5, queries=15)  # sensors that are not used in training

# %% [markdown]
# The model is any built Keras model. Five inner steps of gradient descent adapt all of its parameters, each
# variable with a learning rate that is learned, too.

# %%
model = keras.Sequential(
    [keras.Input([1]), keras.layers.Dense(32, "tanh"), keras.layers.Dense(32, "tanh"), keras.layers.Dense(1)]
)
rule = ml.rules.sgd(ml.rules.learned(0.05, per="variable", positive=True))
learner = ml.MetaLearner(model, loss=ml.losses.mse, rule=rule, steps=5)
trainer = ml.MetaTrainer(learner, train, keras.optimizers.Adam(1e-3), meta_batch_size=10, seed=0)
history = trainer.run(iterations=2000)  # a dict of NumPy arrays, one row for each iteration
print("query loss:", history["outer/loss"][0], "->", history["outer/loss"][-100:].mean())

# %% [markdown]
# Evaluate on the sensors that were not used in training: the query loss after 0 to 10 inner steps.

# %%
report = ml.evaluate(learner, trainer.meta, test, num_tasks=200, steps=10, seed=1)
print("test loss by inner step:", np.round(report.mean, 4))

# %% [markdown]
# Adapt to one new sensor. The adapted model is an ordinary Keras model, which Keras saves and loads.

# %%
folder = Path(tempfile.mkdtemp())
x, y = measurements(55)
adapted = learner.to_keras(trainer.meta, ml.Batch(x[:5], y[:5]))
adapted.save(folder / "adapted.keras")
loaded = keras.models.load_model(folder / "adapted.keras")
error = np.mean((loaded.predict(x[5:], verbose=0) - y[5:]) ** 2)
print("error on the other 50 measurements:", error, "variance:", y[5:].var())

# %% [markdown]
# To adapt to further sensors later, store the meta-parameters: the initial weights and the learned rates.

# %%
ml.save(folder / "meta.npz", trainer.meta, learner)
meta = ml.load(folder / "meta.npz", learner)
again = learner.to_keras(meta, ml.Batch(x[:5], y[:5]))
np.testing.assert_array_equal(again.predict(x, verbose=0), loaded.predict(x, verbose=0))
