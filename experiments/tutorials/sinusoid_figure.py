# %% [markdown]
# # A figure of the MAML paper, with fewer iterations
#
# Finn, Abbeel and Levine (2017), figure 2: a network that is meta-trained on sinusoids is adapted to a new
# one from ten points, beside a network that is pretrained on all tasks pooled. The paper trains for 70 000
# iterations, this script for 5000, so its losses are higher than the paper's.

# %%
import tempfile
from pathlib import Path

import keras
import matplotlib
import numpy as np

import metalearn as ml

matplotlib.use("agg")
from matplotlib import pyplot

tasks = ml.tasks.Sinusoid(shots=10, queries=10)
model = ml.models.mlp(input_size=1, hidden=(40, 40), output_size=1)


def trained(steps: int) -> tuple[ml.MetaLearner, ml.MetaTrainer]:
    """Return a learner and its trainer after 5000 iterations; without inner steps that is pretraining."""
    learner = ml.MetaLearner(model, loss=ml.losses.mse, rule=ml.rules.sgd(0.01), steps=steps)
    trainer = ml.MetaTrainer(learner, tasks, keras.optimizers.Adam(1e-3), meta_batch_size=25, seed=0)
    trainer.run(5000)
    return learner, trainer


methods = {"MAML": trained(steps=1), "pretrained": trained(steps=0)}

# %% [markdown]
# The same 500 new tasks for both: the loss after 0 to 10 gradient steps (the paper's figure 3, left).

# %%
losses = {
    name: ml.evaluate(learner, trainer.meta, tasks, num_tasks=500, steps=10, seed=1).median
    for name, (learner, trainer) in methods.items()
}
for name, median in losses.items():
    print(f"{name}: median loss after 0, 1 and 10 steps: {median[0]:.2f}, {median[1]:.2f}, {median[10]:.2f}")

# %% [markdown]
# One of these sinusoids, and what both networks predict for it before and after 1 and 10 steps.

# %%
task = tasks.sample(seed=(2, 0), tasks=1)
amplitude, phase = task.info[0].numpy()
grid = np.linspace(-5, 5, 200, dtype="float32")[:, None]
figure, axes = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
for axis, (name, (learner, trainer)) in zip(axes, methods.items(), strict=False):
    axis.plot(grid, amplitude * np.sin(grid - phase), color="lightgray", label="sinusoid")
    for steps, style in ((0, ":"), (1, "--"), (10, "-")):
        fitted = learner.adapt(trainer.meta, task.support, steps=steps)
        axis.plot(grid, learner.predict(fitted, grid[None])[0], style, label=f"steps: {steps}")
    axis.plot(task.support.inputs[0], task.support.targets[0], "k^", label="support set")
    axis.set(title=name, xlabel="x")
    axis.legend(fontsize="small")
    axes[2].plot(losses[name], label=name)
axes[2].set(title="median loss over 500 tasks", xlabel="gradient steps", yscale="log")
axes[2].legend()
path = Path(tempfile.mkdtemp()) / "sinusoids.png"
figure.savefig(path)
print("figure:", path)
