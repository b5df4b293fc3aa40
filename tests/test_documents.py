"""Commands and settings in the text and the tables of documents: their configurations can be composed."""

import re

import hydra
import pytest
from omegaconf import OmegaConf

from experiments.harness.app.application import CONFIGS
from experiments.harness.config import schema
from tests.documents import (
    DOCUMENTS,
    EXPERIMENTS,
    GUIDE,
    README,
    RESULTS,
    ROOT,
    files_of_tests,
    passages,
    settings_in,
    spans,
)

SECTIONS = {path.name for path in CONFIGS.iterdir() if path.is_dir()} | {"learner", "paths", "run"}

OF_EXAMPLES = ("mylab", "own.npz", "packages=")
"""What readers are to put in place of these is theirs."""


def named(documents):
    """Return every command and list of settings, the same ones once, with the documents that have them."""
    found = {}
    for document in documents:
        for span, command, overrides in settings_in(document, SECTIONS):
            if not any(part in span for part in OF_EXAMPLES):
                found.setdefault((command, *overrides), (document.name, span))
    return found


def test_settings_are_found():
    """Settings are found in text and in tables, also those that belong to the experiment of their row."""
    found = named(DOCUMENTS)
    assert len(found) >= 60
    assert ("train", "experiment=hpo/network", "estimator=frozen", "training.iterations=1") in found
    assert ("train", "experiment=hpo/network", "seed=2", "task.seed=2") in found
    assert ("evaluate", "run=maml", "evaluation.queries_at_once=class") in found


def together(found):
    """Join commands with equal pages and without two values of a setting, because composing takes long."""
    joined = []
    for (command, *overrides), where in found.items():
        given = dict(word.split("=", 1) for word in overrides)
        pages = {key: value for key, value in given.items() if key in SECTIONS or "/" in key}
        if overrides and [*given] == ["experiment"]:
            continue  # the page is there, or it would not have been found
        for other, settings, places in joined:
            same = other == (command, pages) and given.keys().isdisjoint(settings.keys() - pages.keys())
            if same:
                settings.update(given)
                places.append(where)
                break
        else:
            joined.append(((command, pages), given, [where]))
    return [(command, settings, places) for (command, _), settings, places in joined]


@pytest.mark.parametrize(
    "documents", [(README, *GUIDE.glob("*.md")), pytest.param(RESULTS.glob("*.md"), marks=pytest.mark.slow)]
)
def test_settings_compose(documents):
    """Settings can be composed, and all of a training have their kinds and ranges."""
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for command, settings, where in together(named(documents)):
            if command == "train":
                settings = {**settings, "label": "maml", "name": "sinusoid"}
            try:
                # The commands add paths.data, which has no default.
                words = [f"{'++' * (key == 'paths.data')}{key}={value}" for key, value in settings.items()]
                config = hydra.compose(command, words)
                if command == "train":
                    schema.check(OmegaConf.to_container(config, resolve=True))
            except Exception as error:
                raise AssertionError(f"{where}: {error}") from error


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_named_is_there(document):
    """All pages of experiments and test files that documents name exist."""
    families = {path.name for path in EXPERIMENTS.iterdir()}
    pages = [
        span
        for passage in passages(document)
        for span in spans(passage)
        if re.fullmatch(r"\w+/\w+", span) and span.partition("/")[0] in families
    ]
    assert [page for page in pages if not (EXPERIMENTS / f"{page}.yaml").is_file()] == []
    assert [path for path in files_of_tests(document) if not (ROOT / path).is_file()] == []
