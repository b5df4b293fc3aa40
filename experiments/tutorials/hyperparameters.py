# %% [markdown]
# # Hyperparameters by gradient: the penalties of a ridge regression
#
# A linear regression has 20 features, of which 3 matter. Each feature d has its own penalty `exp(log_l2_d)`.
# The inner loop trains the weights on 40 examples by 100 steps of gradient descent; the outer loop changes
# the penalties along the gradient of the error on 40 validation examples, computed through these steps.

# %%
import keras
import numpy as np
import tensorflow as tf

import metalearn as ml

random = np.random.default_rng(0)
weights = np.concatenate([[2.0, -1.0, 1.5], np.zeros(17)])
x = random.normal(size=(3, 40, 20))
y = x @ weights + random.normal(size=(3, 40))
train, validation, test = (ml.Batch(x[part], y[part]) for part in range(3))

learner = ml.problems.ridge(features=20, rule=ml.rules.sgd(0.1), steps=100)
data = ml.tasks.dataset(ml.Task(train, validation), dtype="float64")

# %% [markdown]
# **The gradient is right.** The inner loss is quadratic, so its solution w and the hypergradient have closed
# forms, with `H = X'X / N + diag(exp(log_l2))` and r the residuals on the validation examples: `w = H^-1 X'y
# / N` and `dL / dlog_l2 = -exp(log_l2) * w * H^-1 (X_v' r / M)`. With 2000 steps, the gradient is the same.

# %%
log_l2 = np.full(20, -2.0)
H = x[0].T @ x[0] / 40 + np.diag(np.exp(log_l2))
solution = np.linalg.solve(H, x[0].T @ y[0] / 40)
residual = x[1] @ solution - y[1]
closed_form = -np.exp(log_l2) * solution * np.linalg.solve(H, x[1].T @ residual / 40)

longer = ml.problems.ridge(features=20, rule=ml.rules.sgd(0.1), steps=2000)
task = data.sample(seed=(0, 0), tasks=1)
gradient = longer.meta_gradient({"log_l2": tf.constant(log_l2)}, task).gradient["log_l2"]
print("largest difference:", np.abs(gradient - closed_form).max())
np.testing.assert_allclose(gradient, closed_form, rtol=1e-8, atol=1e-12)

# %% [markdown]
# **Training the penalties** on float32 data, and the test error of the solution before and after.

# %%
trainer = ml.MetaTrainer(
    learner, ml.tasks.dataset(ml.Task(train, validation)), keras.optimizers.Adam(0.1), meta_batch_size=1
)
trainer.run(200)
learned = trainer.meta["log_l2"].numpy()


def test_error(penalty: np.ndarray) -> float:
    """Return the mean squared error on the test examples of the ridge regression with these penalties."""
    w = np.linalg.solve(x[0].T @ x[0] / 40 + np.diag(np.exp(penalty)), x[0].T @ y[0] / 40)
    return float(np.mean((x[2] @ w - y[2]) ** 2))


print("mean log penalty: relevant features", learned[:3].mean(), "others", learned[3:].mean())
print("test error before:", test_error(log_l2), "after:", test_error(learned))
