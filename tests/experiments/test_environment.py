"""What a result may depend on: described without secrets, and compared with the likeliest cause first."""

from experiments.harness import environment


def test_a_description_has_what_it_should_and_no_secrets(monkeypatch):
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1")
    monkeypatch.setenv("XLA_SECRET", "hidden")
    monkeypatch.setenv("HOME", "somewhere")
    found = environment.describe()
    assert found["environment"]["TF_DETERMINISTIC_OPS"] == "1"
    assert not {"XLA_SECRET", "HOME"} & set(found["environment"])
    assert {"tensorflow", "keras", "numpy", "hydra-core"} <= set(found["packages"])
    assert found["processor"]["model"]
    assert set(found["threads"]) == {"intra", "inter"}


def test_without_git_there_is_no_code(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment.describe()["code"] is None
    assert environment.uncommitted() == ""


def test_the_likeliest_cause_comes_first():
    then = {
        "code": {"commit": "a"},
        "packages": {"rich": "1", "tensorflow": "1"},
        "system": "x",
        "python": "3",
    }
    now = {"code": {"commit": "b"}, "packages": {"tensorflow": "2"}, "system": "y", "python": "3"}
    assert environment.differences(then, now) == [
        "code/commit: a then, b now",
        "packages/tensorflow: 1 then, 2 now",
        "packages/rich: 1 then, none now",
        "system: x then, y now",
    ]
    assert environment.differences(then, then) == []
