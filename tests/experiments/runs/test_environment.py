"""The environment of a result, described without secrets; differences are ordered by likelihood."""

from experiments.harness.runs import code, environment


def test_a_description_has_what_it_should_and_no_secrets(monkeypatch):
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1")
    for word in ("KEY", "TOKEN", "SECRET", "PASSWORD"):
        monkeypatch.setenv(f"XLA_{word}", "hidden")
        monkeypatch.setenv(f"TF_MY_{word}_FILE", "hidden")
    monkeypatch.setenv("HOME", "somewhere")
    found = environment.describe({})
    assert found["environment"]["TF_DETERMINISTIC_OPS"] == "1"
    assert "HOME" not in found["environment"]
    assert "hidden" not in found["environment"].values()
    assert {"tensorflow", "keras", "numpy", "hydra-core"} <= set(found["packages"])
    assert found["processor"]["model"]
    assert set(found["threads"]) == {"intra", "inter"}


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = code.describe({})
    assert (found["commit"], found["changed"]) == (None, [])
    assert found["files"]
    assert code.uncommitted({}) == ""


def test_the_likeliest_cause_comes_first():
    then = {
        "code": {"commit": "a", "files": {"metalearn/nest.py": "1"}, "libraries": {"keras": "1"}},
        "packages": {"rich": "1"},
        "system": "x",
        "python": "3",
    }
    made = {"commit": "b", "files": {"metalearn/nest.py": "2"}, "libraries": {"keras": "2"}}
    now = {"code": made, "packages": {}, "system": "y", "python": "3"}
    assert environment.differences(then, now) == [
        "keras 1 then, 2 now",
        "metalearn/nest.py changed",
        "packages/rich: 1 then, none now",
        "system: x then, y now",
    ]
    assert environment.differences(then, then) == []
