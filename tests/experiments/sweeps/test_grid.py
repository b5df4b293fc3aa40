"""A sweep over a grid: jobs, skipped jobs, failures, and the exit code."""

import contextlib
import io
import json

import pytest

from experiments.harness.runs import rundir
from experiments.harness.session import training as session
from experiments.harness.sweeps import definition
from tests.experiments.small_runs import pretend, run
from tests.experiments.sweeps.commands import SMALL, complete, sweep_of

SHORT = ["-m", *SMALL, "training.iterations=20"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of two runs, of which one diverges, its exit code, and what it printed."""
    runs, printed = tmp_path_factory.mktemp("swept"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = run(runs, [*SHORT, "rule.learning_rate=0.01,1e+30"])
    return runs, code, printed.getvalue()


def test_a_job_has_a_line_and_the_sweep_ends_with_a_table(swept):
    """A line for each job and a final table of losses are printed, and no output of the jobs."""
    printed = swept[2]
    lines = [line for line in printed.splitlines() if line.startswith(("complete:", "diverged:"))]
    assert [line.split()[:2] for line in lines] == [
        ["complete:", "rule.learning_rate=0.01"],
        ["diverged:", "rule.learning_rate=1e+30"],
    ]
    assert "query loss" not in printed
    table = printed.partition("losses by job (mse)")[2]
    good, bad = [line.split() for line in table.splitlines() if line.startswith("│ rule")]
    assert [word for word in bad if word not in "│-"] == ["rule.learning_rate=1e+30", "diverged"]
    stored = json.loads(sweep_of(swept[0])[0].run.evaluation.read_text())["mean"]
    assert [float(word) for word in good[3:6:2]] == pytest.approx(stored[:2], rel=1e-3)
    assert good[-3:-1] == ["complete", "now"]


def test_one_that_fails_ends_no_other(swept):
    runs, code, _ = swept
    assert code == 1
    good, bad = sweep_of(runs)
    assert (good.name, bad.name) == ("rule.learning_rate=0.01", "rule.learning_rate=1e+30")
    manifests = [json.loads(job.run.manifest.read_text()) for job in (good, bad)]
    assert [manifest["status"] for manifest in manifests] == ["complete", "failed"]
    assert "iteration" in manifests[1]["error"]


def test_what_is_complete_is_not_run_again(swept, capfd):
    runs, _, _ = swept
    before = complete(runs)
    assert run(runs, [*SHORT, "rule.learning_rate=0.01,1e+30"]) == 1
    assert complete(runs) == before
    printed = capfd.readouterr().out
    assert "2 jobs: 1 complete before, 1 not complete" in printed
    assert "not complete: rule.learning_rate=1e+30" in printed
    assert "resume with: python" in printed


@pytest.mark.usefixtures("unbuilt")
def test_a_job_that_is_interrupted_ends_the_sweep(tmp_path, monkeypatch, capfd):
    """An interrupted job ends the sweep, and the same command resumes it; training is a mock."""
    ends = iter(["complete", "interrupted", "complete", "complete"])

    def train(config):
        status = next(ends)
        pretend(rundir.locate(config), config, status=status, iteration=10)
        return 130 if status == "interrupted" else 0

    monkeypatch.setattr(session, "train", lambda config, report: train(config))
    assert run(tmp_path, [*SHORT, "seed=0,1,2"]) == 130
    printed = capfd.readouterr().out
    assert "3 jobs: 1 complete now, 2 not complete" in printed
    assert "not complete: seed=1 " in printed
    assert "interrupted at iteration 10" in printed
    assert "it is new" in printed
    assert run(tmp_path, [*SHORT, "seed=0,1,2"]) == 0
    expected = "3 jobs: 1 complete before, 1 complete now, 1 resumed and complete now"
    assert expected in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["seed=0,-1"], ["seed=-1: seed", "-1"]),
        (["rule.learning_rate=interval(0.1,1)"], ["rule.learning_rate=1,2", "hydra/sweeper=optuna"]),
        (["seed=range(0,1000000000)"], ["seed=range(0,1000000000) has more than 10000 values"]),
        (["seed=shuffle(range(0,1e18,0.5))"], ["has more than 10000 values"]),
        (["seed=range(0,5,0)"], ["seed=range(0,5,0) gives no values: it has no end"]),
        (["seed=range(0,nan)"], ["seed=range(0,nan) gives no values"]),
        (["seed=range(5,5)"], ["seed=range(5,5) gives no values: it is empty"]),
        (["hydra.launcher=null"], ["hydra.launcher=null", "launcher is not configured"]),
        (["seed=range(0,200)", "task.shots=range(1,101)"], ["values of seed, task.shots", "10000 jobs"]),
        (["algorithm=maml,mamll"], ["algorithm=mamll", "maml"]),
        (["task.shotz=1,2"], ["task.shotz", "task.shots"]),
        (["sweep=sinusoid"], ["sweep=sinusoid", "sinusoid_algorithms"]),
        (["hydra/launcher=rey"], ["hydra/launcher=rey", "did you mean ray"]),
        (["hydra/launcher=slurm"], ["hydra/launcher=submitit_slurm", "[slurm]"]),
        (["hydra/sweeper=grid", "hydra.sweeper.trials=3"], ["hydra.sweeper.trials"]),
    ],
)
def test_bad_input_is_said_before_any_job_starts(tmp_path, capfd, arguments, named):
    assert run(tmp_path, [*SHORT, *arguments]) == 2
    captured = capfd.readouterr()
    assert all(word in captured.err for word in named), captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "sinusoid").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("unbuilt")
def test_the_command_line_replaces_values_of_a_preset(tmp_path, monkeypatch):
    """The command line replaces values of a preset; combinations that differ in the label are one job."""
    monkeypatch.setattr("experiments.harness.sweeps.grid.execute", lambda *_: pytest.skip("not reached"))
    listed = []
    monkeypatch.setattr(definition, "write", lambda place, jobs: listed.extend(jobs) or pytest.fail("stop"))
    with pytest.raises(pytest.fail.Exception):
        run(tmp_path, [*SHORT, "sweep=inner_rate_by_steps", "learner.steps=1,3", "seed=4", "label=a,b"])
    rates = ("0.003", "0.01", "0.03", "0.1")
    expected = [
        f"rule.learning_rate={rate},learner.steps={steps},label=a" for rate in rates for steps in "13"
    ]
    assert [job.name for job in listed] == expected
    assert {"training.iterations=20", "seed=4"} <= set(listed[0].overrides)
