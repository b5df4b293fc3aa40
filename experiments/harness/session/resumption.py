"""Existing runs: whether they may be resumed, from where, and the output for complete ones."""

from __future__ import annotations

from ..console import say
from ..errors import UsageError
from ..runs import checkpoints, code, files, identity, metrics, provenance, rundir
from ..runs.identity import Config
from ..runs.lock import locked
from ..runs.rundir import RunDirectory
from .results import restore, set_aside, show
from .session import Session


def require_own(run: RunDirectory, config: Config, manifest: Config) -> None:
    """Raise UsageError if a folder holds a run of another configuration."""
    if manifest["identity"] != identity.training(config):
        raise UsageError(f"{run.manifest} is of another run; run.fresh=true starts a new run")


def require_same_code(run: RunDirectory, config: Config, manifest: Config) -> None:
    """Raise UsageError if resuming would mix two versions of the code without the user's consent."""
    other = provenance.changes(config, manifest)
    if other and config["run"]["resume"] != "changed" and checkpoints.listed(run.checkpoints):
        raise UsageError(
            f"{run.path} was made by other code ({code.summary(other)}): run.resume=changed continues it "
            "with the present code and records both, run.fresh=true starts a new run"
        )


def show_complete(run: RunDirectory, config: Config, manifest: Config) -> int:
    """Show a complete run, and update its label."""
    say(f"since {manifest['end']}: {run.path} (run.fresh=true starts a new run)", "complete")
    other = provenance.changes(config, manifest)
    if other:
        say(
            f"{code.summary(other)}. These are its results; run.fresh=true trains a new run",
            "made by other code:",
            "bold yellow",
        )
    for entry in manifest["resumed"]:
        if "code" in entry:
            say(f"from iteration {entry['iteration']} by other code than before", "mixed:", "bold yellow")
    if manifest["afterwards"] != identity.afterwards(config):
        files.require_plain_folder(run.path)
        with locked(run.path):
            rundir.update_manifest(run, afterwards=identity.afterwards(config))
        say(f"the label of the run is now {config['label']}")
    show(run, manifest)
    return 0


def resume(session: Session, manifest: Config) -> None:
    """Restore the newest checkpoint, or the initial state if there is none."""
    run, trainer, config = session.run, session.trainer, session.config

    def accept(state: checkpoints.State) -> None:
        restore(trainer, state)
        for path in run.appended:
            metrics.go_back(path, state)

    if manifest["status"] == "complete":
        set_aside(run, {**config, **manifest["afterwards"]})
    if not checkpoints.recover(run.checkpoints, manifest["identity"], accept):
        for path in run.appended:
            path.unlink(missing_ok=True)
    entry: Config = {"at": rundir.now(), "iteration": trainer.iteration}
    if provenance.changes(config, manifest):
        entry["code"] = code.describe(config)
        provenance.keep_uncommitted(run.uncommitted, config)
    run.error.unlink(missing_ok=True)
    rundir.update_manifest(
        run,
        status="running",
        iteration=trainer.iteration,
        end=None,
        resumed=[*manifest["resumed"], entry],
        error=None,
        diverged=False,
        afterwards=identity.afterwards(config),
    )
    say(f"resuming {run.path} at iteration {trainer.iteration}")
