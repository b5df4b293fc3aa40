"""The documents whose commands and snippets are run: the README and all pages."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

README = ROOT / "README.md"

GUIDE, RESULTS = ROOT / "experiments" / "guide", ROOT / "experiments" / "results"

DOCUMENTS = (README, *sorted(GUIDE.glob("*.md")), *sorted(RESULTS.glob("*.md")))

TEXT = "\n".join(path.read_text() for path in DOCUMENTS)
