from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pruner_zero import assets
from pruner_zero.data.documents import Document, cut_text, file_documents, news_documents
from pruner_zero.data.store import stored_documents
from pruner_zero.errors import UserError


def test_what_cannot_be_read_is_not_left_out_in_silence(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.txt").write_text("bee")
    (tmp_path / "locked").mkdir()

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    original = os.scandir
    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(UserError, match=r"corpus.files: .*locked cannot be read: Permission"):
        file_documents([str(tmp_path)])

    def stat(self, **_settings):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(UserError, match=r"corpus.files: .*a.txt cannot be read: Permission"):
        file_documents([str(tmp_path / "a.txt")])


def test_a_folder_gives_its_text_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("bee")
    (tmp_path / "a.md").write_text("\ufeffäh", encoding="utf-8")
    (tmp_path / "sub" / "c.TXT").write_text("sea")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff")
    documents = file_documents([str(tmp_path)])
    assert documents == [Document("a.md", "äh"), Document("b.txt", "bee"), Document("c.TXT", "sea")]


def test_a_single_big_file_is_cut_at_blank_lines(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {i}. " + "word " * 60 for i in range(50)]
    file = tmp_path / "book.txt"
    file.write_text("\n\n".join(paragraphs))
    documents = file_documents([file])
    assert len(documents) > 5
    assert all(len(d.text) >= 2000 for d in documents)
    assert documents[0].title == "book.txt (1)"
    assert "\n\n".join(d.text for d in documents) == file.read_text()


def test_many_files_stay_whole(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i:02}.txt").write_text(f"{i}\n\n" * 3000)
    assert len(file_documents([tmp_path])) == 20


def test_the_same_file_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert len(file_documents([tmp_path, tmp_path / "a.txt"])) == 1


@example("aaaa ", 1)
@given(st.text(alphabet="ab \n", max_size=400), st.integers(1, 40))
def test_cutting_loses_nothing_but_blank_lines_and_a_blank_end(text: str, least: int) -> None:
    pieces = list(cut_text(text, least))
    assert "".join(pieces).replace("\n", "").rstrip() == text.replace("\n", "").rstrip()


def test_a_text_without_blank_lines_is_cut_at_words() -> None:
    text = "word " * 10_000
    pieces = list(cut_text(text))
    assert len(pieces) > 4 and "".join(pieces) == text
    assert all(piece.endswith(" ") for piece in pieces)


def test_errors_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("naïve".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt is not UTF-8 text \(byte 2\)"):
        file_documents([tmp_path / "latin.txt"])
    with pytest.raises(UserError, match=r"corpus\.files: .*nope\.txt does not exist"):
        file_documents([tmp_path / "nope.txt"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty has no \.txt or \.md files"):
        file_documents([tmp_path / "empty"])
    (tmp_path / "blank.txt").write_text("\n \n")
    with pytest.raises(UserError, match=r"there is no text in .*blank\.txt"):
        file_documents([tmp_path / "blank.txt"])
    with pytest.raises(UserError, match=r"needs corpus\.files=\[my\.txt\]"):
        file_documents([])


def test_news_has_one_story_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"First story.\nSecond story.\n\n"
    asset = replace(
        assets.ASSETS["news"], sha256=hashlib.sha256(content).hexdigest(), size=len(content)
    )
    monkeypatch.setitem(assets.ASSETS, "news", asset)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / asset.filename).write_bytes(content)
    assert [d.text for d in news_documents(tmp_path)] == ["First story.", "Second story."]


def test_stored_documents_are_made_once_and_again_when_damaged(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, list[Document]]:
        made.append(1)
        return {"all": [Document("t", "äöü")]}

    path = tmp_path / "texts" / "x.json"
    for _ in range(2):
        assert stored_documents(path, make) == {"all": [Document("t", "äöü")]}
    assert len(made) == 1
    path.write_text(path.read_text()[:10])
    assert stored_documents(path, make)["all"][0].text == "äöü"
    assert len(made) == 2
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]
