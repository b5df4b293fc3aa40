"""Tables between marks."""

import os

import pytest

from experiments.harness.config import marked
from experiments.harness.errors import UsageError

BEGIN, END = marked.marks("table")


def test_what_stands_between_the_marks_is_replaced(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    marked.write(path, "table", "new\n")
    assert path.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{END}", f"{BEGIN}{BEGIN}{END}"])
def test_a_file_without_a_place_is_refused_and_left_as_it_is(tmp_path, text):
    path = tmp_path / "page.md"
    path.write_text(text)
    for attempt in (marked.require_place, lambda *a: marked.write(*a, "new")):
        with pytest.raises(UsageError, match="no place for the table"):
            attempt(path, "table")
    assert path.read_text() == text


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        marked.require_place(tmp_path / "none.md", "table")


def test_line_endings_stay_as_they_are(tmp_path):
    path = tmp_path / "page.md"
    path.write_bytes(f"before\r\n{BEGIN}\n{END}\r\nafter\r\n".encode())
    marked.write(path, "table", "new\n")
    assert path.read_bytes() == f"before\r\n{BEGIN}\nnew\n{END}\r\nafter\r\n".encode()


def test_what_is_not_text_is_refused_and_a_pipe_is_not_waited_for(tmp_path):
    (tmp_path / "binary.md").write_bytes(bytes(range(256)))
    os.mkfifo(tmp_path / "pipe.md")
    for name, reason in {"binary.md": "cannot be read: .*utf-8", "pipe.md": "is not a regular file"}.items():
        with pytest.raises(UsageError, match=reason):
            marked.require_place(tmp_path / name, "table")
