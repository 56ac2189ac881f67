"""What README and docs tell people to type: fences of code, with what they need beside them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(
    r"(?:<!-- needs: (?P<needs>[^>]*?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Fence:
    """One block of code.

    Attributes:
        page: path below the project's root.
        line: where it begins.
        language: after the opening marks.
        text: what stands in it.
        needs: what the comment ``<!-- needs: … -->`` above it asks for: weights, a GPU, a hub, …;
            empty for what runs anywhere.
    """

    page: str
    line: int
    language: str
    text: str
    needs: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of every shell line, with continued lines joined and comments dropped."""
        lines = self.text.replace("\\\n", " ").splitlines()
        found = [shlex.split(line, comments=True) for line in lines]
        return [words for words in found if words]


def fences(language: str) -> list[Fence]:
    """All fences of a language, in the order of the pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            if match["language"] == language:
                line = text.count("\n", 0, match.start()) + 1
                name = str(page.relative_to(ROOT))
                found.append(Fence(name, line, language, match["text"], match["needs"] or ""))
    return found
