# %% [markdown]
# # A new algorithm as a page of YAML
#
# An algorithm is a combination of parts: which parameters are adapted, the inner rule and which of its
# hyperparameters are learned, and the estimator of the meta-gradient. The combination below has no name in
# the literature: all layers but the last are adapted (BOIL), with a learned rate for each weight (Meta-SGD),
# and the meta-gradient of each task is clipped.

# %%
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import metalearn

PAGE = """
# @package _global_
defaults:
  - override /rule: sgd
  - override /estimator: checkpointed

learner:
  adapted: body
rule:
  learning_rate:
    _target_: metalearn.rules.learned
    initial: 0.01
    per: element
training:
  clip_task_value: 10.0
"""
folder = Path(tempfile.mkdtemp())
page = folder / "conf" / "algorithm" / "boil_sgd.yaml"
page.parent.mkdir(parents=True)
page.write_text(PAGE.lstrip())

# %% [markdown]
# The command takes the page by its name, as it takes those of this project. Here it runs in a process of its
# own, on fewer iterations than in the paper; in a terminal it is `python -m experiments.train
# --config-dir=<folder>/conf algorithm=boil_sgd training.iterations=2000`.

# %%
SHORT = ["training.iterations=2000", "tracking=none", "diagnostics.interval=null", "evaluation.tasks=500"]


def train(algorithm: str, *settings: str) -> dict[str, list[float]]:
    """Run the command; return what ``evaluation.json`` of its run says."""
    runs = folder / "runs" / algorithm
    command = [sys.executable, "-m", "experiments.train", f"--config-dir={folder / 'conf'}"]
    command += [f"algorithm={algorithm}", f"paths.runs={runs}", *SHORT, *settings]
    subprocess.run(command, cwd=Path(metalearn.__file__).parents[1], check=True, capture_output=True)
    (stored,) = runs.rglob("evaluation.json")
    return json.loads(stored.read_text())


new, boil = train("boil_sgd"), train("boil")

# %% [markdown]
# Both were evaluated on the same 500 sinusoids. `steps` are the inner steps, `median` is the loss over tasks,
# and `diverged` the fraction of tasks whose loss is not finite or very large.

# %%
for name, found in {"boil_sgd": new, "boil": boil}.items():
    for step in (0, 1, 3):
        at = found["steps"].index(step)
        median, diverged = found["median"][at], found["diverged"][at]
        print(f"{name}, {step:2} steps: median {median:.3f}, diverged {diverged}")
