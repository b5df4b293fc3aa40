"""TensorBoard: files read with its own reader, resuming without duplicate points, and a full disk."""

import importlib.util
import resource
import shutil
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.harness.tracking.tensorboard import tensorboard_tracker
from metalearn import Evaluation
from tests.experiments.events import read, steps, values
from tests.experiments.tracking.test_wandb import CONFIG, GRADIENT, KERNEL, make_history, part


def start(directory, iteration=0, **settings):
    directory.mkdir(exist_ok=True)
    return tensorboard_tracker(directory=directory, config=CONFIG, iteration=iteration, **settings)


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """A run of 250 iterations in calls of 30, 200 and 20, with everything that a tracker takes."""
    directory = tmp_path_factory.mktemp("runs")
    tracker, history = start(directory, interval=100, histogram_interval=150), make_history(250)
    tracker.diagnosis(
        0, {"order/cosine": 0.5}, {"rate": np.array([0.1, 0.2, np.nan]), "decay": np.array(0.9)}
    )
    for first, end, seconds in ((0, 30, 6.0), (30, 230, 2.0), (230, 250, 1.0)):
        tracker.log(first, part(history, first, end), GRADIENT, seconds)
    mean = np.array([3.0, 0.3])
    tracker.evaluation(Evaluation(np.arange(2), mean, mean, 9, "", np.empty(0), mean, np.zeros(2)), "mse")
    image = directory / "image.png"
    Figure((1, 2)).savefig(image, dpi=50)
    tracker.figures({"adaptation": image})
    tracker.checkpoint(image)
    tracker.divergence("iteration 250: not finite: outer/loss")
    tracker.finish(exit_code=1)
    tracker.finish()
    return read(directory / "tensorboard")


def test_points_are_window_means_in_groups(events):
    history = make_history(250)
    assert steps(events, "outer/loss") == [100, 200, 250]
    windows = (slice(0, 100), slice(100, 200), slice(200, 250))
    for name, found in (("outer/loss", "outer/loss"), ("learning_rate", "update/learning_rate")):
        means = [history[name][window].mean(dtype=np.float64) for window in windows]
        np.testing.assert_allclose(values(events, found), means, rtol=1e-6)
    assert values(events, "speed/iterations_per_second")[1] == pytest.approx(100)
    assert (steps(events, "order/cosine"), values(events, "order/cosine")) == ([0], [0.5])
    assert events.SummaryMetadata("outer/loss").plugin_data.plugin_name == "scalars"


def test_histograms_have_every_entry_that_is_finite(events):
    """Histograms count all entries of the meta-gradient when due, and of learned vectors."""
    name = f"meta_gradient/histogram/{KERNEL}"
    assert steps(events, name) == [200]
    assert values(events, name)[0][:, 2].sum() == 640
    assert events.SummaryMetadata(name).plugin_data.plugin_name == "histograms"
    assert values(events, "learned/histogram/rate")[0][:, 2].sum() == 2
    assert steps(events, "learned/histogram/decay") == []


def test_evaluation_figures_and_texts_are_at_the_end(events):
    assert [values(events, f"evaluation/mse_after_{step}")[0] for step in (0, 1)] == pytest.approx([3, 0.3])
    width, height, image = values(events, "figures/adaptation")[0]
    assert (int(width), int(height), image[:4]) == (50, 100, b"\x89PNG")
    assert steps(events, "figures/adaptation") == steps(events, "divergence") == [250]
    assert b"shots: 10" in values(events, "config")[0].item()


def test_a_run_that_goes_on_has_no_point_twice(tmp_path):
    """After a kill at 150, with a damaged file and a checkpoint of 105, no iteration has two points."""
    history = make_history(200)
    tracker = start(tmp_path, interval=20)
    tracker.log(0, part(history, 0, 150), GRADIENT, 1.0)
    tracker.flush()
    (path,) = (tmp_path / "tensorboard").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    tracker = start(tmp_path, iteration=105, interval=20)
    tracker.log(105, part(history, 105, 200), GRADIENT, 1.0)
    tracker.finish()
    events = read(tmp_path / "tensorboard")
    assert steps(events, "outer/loss") == list(range(20, 201, 20))
    windows = [*range(0, 101, 20), 105, *range(120, 201, 20)]
    means = [history["outer/loss"][a:b].mean() for a, b in pairwise(windows)]
    del means[5]  # of the window that the checkpoint is in, the rows before it have no point
    np.testing.assert_allclose(values(events, "outer/loss"), means, rtol=1e-5)
    tracker = start(tmp_path, iteration=0, interval=20)
    tracker.log(0, part(history, 0, 20), GRADIENT, 1.0)
    tracker.finish()
    assert steps(read(tmp_path / "tensorboard"), "outer/loss") == [20]


def test_a_full_disk_is_done_without(tmp_path, capfd):
    """A full disk is reported once, and no error is raised."""
    tracker, before = start(tmp_path, interval=10), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        for first in range(0, 500, 10):
            tracker.log(first, make_history(10), None, 1.0)
        tracker.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    printed = capfd.readouterr().out
    assert printed.count("tracking stopped: ") == 1
    assert "File too large" in printed


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path, capfd):
    (tmp_path / "tensorboard").write_text("in the way")
    tracker = start(tmp_path)
    tracker.log(0, make_history(200), None, 1.0)
    tracker.finish()
    assert capfd.readouterr().out.count("tracking stopped: ") == 1


def test_a_folder_that_vanishes_is_done_without(tmp_path):
    """If the folder is removed, no error is raised, and the folder is not created again."""
    tracker = start(tmp_path, interval=10)
    tracker.log(0, make_history(10), None, 1.0)
    tracker.flush()
    shutil.rmtree(tmp_path)
    tracker.log(0, make_history(200), None, 1.0)
    tracker.finish()
    assert not tmp_path.exists()


def test_what_cannot_be_is_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"^interval must be an integer of at least 1"):
        start(tmp_path, interval=0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="TensorBoard is not installed: pip install"):
        start(tmp_path)
