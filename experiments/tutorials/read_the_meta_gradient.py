# %% [markdown]
# # Reading the meta-gradient
#
# Losses do not show whether second derivatives matter, whether tasks agree, and whether the inner loop is
# stable. `ml.diagnostics.diagnose` measures these for one meta-batch.

# %%
import dataclasses

import keras
import tensorflow as tf

import metalearn as ml

tasks = ml.tasks.Sinusoid(shots=10, queries=10)
model = ml.models.mlp(input_size=1, hidden=(40, 40), output_size=1)


def trained(rate: float, iterations: int) -> tuple[ml.MetaLearner, dict[str, dict[str, tf.Tensor]]]:
    """Return MAML with one inner step of a learning rate, and what it has learned."""
    learner = ml.MetaLearner(model, loss=ml.losses.mse, rule=ml.rules.sgd(rate), steps=1)
    trainer = ml.MetaTrainer(learner, tasks, keras.optimizers.Adam(1e-3), meta_batch_size=25, seed=0)
    trainer.run(iterations)
    return learner, trainer.meta


learner, meta = trained(rate=0.01, iterations=500)
batch = tasks.sample(seed=(1, 0), tasks=100)
found = {key: value.numpy() for key, value in ml.diagnostics.diagnose(learner, meta, batch).items()}

# %% [markdown]
# Every metric has a definition, a healthy range and a remedy.

# %%
for key in ("order/cosine", "tasks/signal_to_noise", "inner/gradient_cosine", "inner/stability"):
    definition, healthy, otherwise = ml.diagnostics.meaning(key).split("; ")
    print(f"{key} = {found[key]:.3f}\n  {definition}\n  healthy: {healthy}. Otherwise: {otherwise}")

# %% [markdown]
# **Second derivatives.** The meta-gradient g is its first-order part f and a correction g - f. Another
# estimator can be compared with the exact one: here first-order MAML.

# %%
first_order = dataclasses.replace(learner, estimator=ml.estimators.first_order())
biased = ml.diagnostics.diagnose(first_order, meta, batch)
print(f"cosine of first-order MAML and the exact gradient: {biased['order/estimator_cosine']:.3f}")
print(f"relative error of first-order MAML: {biased['order/estimator_error']:.3f}")

# %% [markdown]
# **Stability.** Gradient descent is stable where the learning rate times the largest eigenvalue of the
# Hessian is below 2. With a rate ten times as large, most tasks are above it, and the loss on the support set
# rises in the inner loop.

# %%
larger = dataclasses.replace(learner, rule=ml.rules.sgd(0.1), steps=5)
unstable = ml.diagnostics.diagnose(larger, meta, batch)
for name, metrics in {"rate 0.01": found, "rate 0.1": unstable}.items():
    losses = [f"{float(value):.3g}" for key, value in sorted(metrics.items()) if "support_loss" in key]
    print(f"{name}: stability {float(metrics['inner/stability']):.2f}, support losses {', '.join(losses)}")
