"""Documents from local sources: the embedded news stories and the user's own files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pruner_zero.assets import Announce, fetch_asset, silent
from pruner_zero.errors import UserError
from pruner_zero.files import is_folder

TEXT_SUFFIXES = (".txt", ".md")
PIECE_CHARACTERS = 2000
ENOUGH_FILES = 20  # with fewer files, long ones are cut so that there is something to deal


@dataclass(frozen=True)
class Document:
    """One text that always stays in one split.

    Attributes:
        title: for people: an article's title or a file's name.
        text: plain text, unstripped.
    """

    title: str
    text: str


def news_documents(cache: Path, announce: Announce = silent) -> list[Document]:
    """Return the 300 embedded news stories, one document each.

    Args:
        cache: the cache folder.
        announce: takes one line for each slow step.

    Raises:
        UserError: the file cannot be fetched.
    """
    text = fetch_asset("news", cache, announce).read_text(encoding="utf-8")
    stories = (line.strip() for line in text.splitlines())
    return [Document(f"story {i}", story) for i, story in enumerate(stories, 1) if story]


def file_documents(sources: Sequence[str | Path]) -> list[Document]:
    """Return documents from the user's text files.

    A file is one document; when there are fewer than 20 files, a long one is cut at blank lines
    into documents of at least about 2,000 characters, so that there is something to split.

    Args:
        sources: files of any name, or folders (all ``*.txt`` and ``*.md`` below them).

    Returns:
        Documents in the order of the sources, files of a folder by path.

    Raises:
        UserError: nothing given, a missing or unreadable path, text that is not UTF-8, no text.
    """
    if isinstance(sources, str | Path):
        sources = [sources]
    if not sources:
        raise UserError("corpus=files needs corpus.files=[my.txt] or corpus.files=[my_folder]")
    files = list(dict.fromkeys(file for source in sources for file in _text_files(Path(source))))
    texts = [(file, _read_text(file)) for file in files]
    documents = []
    for file, text in texts:
        pieces = [text]
        if len(files) < ENOUGH_FILES and len(text) >= 2 * PIECE_CHARACTERS:
            pieces = list(cut_text(text))
        for number, piece in enumerate(pieces, 1):
            title = file.name if len(pieces) == 1 else f"{file.name} ({number})"
            if piece.strip():
                documents.append(Document(title, piece))
    if not documents:
        raise UserError(f"there is no text in {', '.join(map(str, sources))}")
    return documents


def cut_text(text: str, least: int = PIECE_CHARACTERS) -> Iterator[str]:
    """Cut a long text into pieces, at blank lines where it has them.

    Args:
        text: any text.
        least: least number of characters of a piece; a shorter rest joins the last piece.

    Yields:
        Pieces in order, without the blank lines between them and blanks at the very end. A
        paragraph longer than four pieces (a text without blank lines) is cut at line ends or,
        failing these, at spaces.
    """
    gathered: list[str] = []
    length = 0
    ready: str | None = None  # held back one step, so that a short rest can join it
    for paragraph in _paragraphs(text, 4 * least):
        gathered.append(paragraph)
        length += len(paragraph)
        if length >= least:
            if ready is not None:
                yield ready.strip("\n")
            ready, gathered, length = "".join(gathered), [], 0
    rest = (ready or "") + "".join(gathered)
    if rest.strip():
        yield rest.strip("\n")


def _paragraphs(text: str, most: int) -> Iterator[str]:
    """Split after blank lines; split what is still longer than `most` after lines or words."""
    for paragraph in re.split(r"(?<=\n)(?=\n)|(?<=\n\n)(?=[^\n])", text):
        if len(paragraph) <= most:
            yield paragraph
            continue
        for line in paragraph.splitlines(keepends=True):
            start = 0
            while len(line) - start > most:
                space = line.rfind(" ", start + most // 2, start + most)
                end = start + most if space < 0 else space + 1
                yield line[start:end]
                start = end
            yield line[start:]


def _text_files(source: Path) -> list[Path]:
    """Files that one entry of ``corpus.files`` stands for."""
    source = source.expanduser()
    if is_folder(str(source)):
        # Nothing is left out in silence: a corpus without some of its folders is another corpus.
        found = [
            Path(folder) / name
            for folder, _, names in os.walk(source, onerror=_unreadable)
            for name in names
            if Path(name).suffix.lower() in TEXT_SUFFIXES
        ]
        if not found:
            raise UserError(f"the folder {source} has no {' or '.join(TEXT_SUFFIXES)} files")
        return sorted(found)
    try:
        there = source.is_file()
    except OSError as error:  # in a folder that may not be entered
        _unreadable(error)
    if not there:
        raise UserError(f"corpus.files: {source} does not exist")
    return [source]


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(f"corpus.files: {error.filename} cannot be read: {error.strerror}") from error


def _read_text(file: Path) -> str:
    try:
        # utf-8-sig drops the byte order mark that some editors put first.
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8 text (byte {error.start}): convert it to UTF-8 or leave it out"
        ) from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error
