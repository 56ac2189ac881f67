from __future__ import annotations

import bz2
from pathlib import Path

import pytest

from pruner_zero.assets import cache_directory
from pruner_zero.data.wikipedia import parse_dump, plain_text, wikipedia_documents


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("'''Bold''' and ''italic''.", "Bold and italic."),
        ("A [[link]] and [[page|another]].", "A link and another."),
        ("Fact.<ref name=a>{{cite web|url=x}}</ref> More.<ref name=b/>", "Fact. More."),
        ("[[File:A.jpg|thumb|A [[caption]].]]Text.[[Category:Things]]", "Text."),
        ("Aristotle ({{IPAc-en|x}}; {{lang|grc|Ἀρ}}) lived.", "Aristotle (Ἀρ) lived."),
        ("A name ({{audio|x.ogg}}) here.", "A name here."),
        ("It is {{convert|12|km|mi}} long.", "It is 12 km long."),
        ("{{Infobox|a=b}}\n{| class=x\n|-\n| cell\n|}\nProse.", "Prose."),
        ("Prose.\n\n== History ==\nOld.\n\n== References ==\n* Book.\n=== Sub ===\nx", None),
        ("A&nbsp;B &amp; C<!-- hidden -->", "A B & C"),
        ("* one\n* \n* two", "one\n\ntwo"),
    ],
)
def test_plain_text(markup: str, text: str | None) -> None:
    expected = "Prose.\n\nHistory\nOld." if text is None else text
    assert plain_text(markup) == expected


def test_sections_after_a_dropped_one_come_back() -> None:
    assert plain_text("== See also ==\nx\n== Legacy ==\nKept.") == "Legacy\nKept."


def test_parse_dump_takes_articles_only(tmp_path: Path) -> None:
    def page(title: str, namespace: int, text: str, extra: str = "") -> str:
        return (
            f"<page><title>{title}</title><ns>{namespace}</ns>{extra}"
            f"<revision><text>{text}</text></revision></page>"
        )

    xml = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">'
        + page("Real", 0, "Some '''prose'''.")
        + page("Moved", 0, "#REDIRECT [[Real]]", '<redirect title="Real" />')
        + page("Talk:Real", 1, "chatter")
        + page("Empty", 0, "{{only a template}}")
        + "</mediawiki>"
    )
    dump = tmp_path / "dump.bz2"
    dump.write_bytes(bz2.compress(xml.encode()))
    assert [(d.title, d.text) for d in parse_dump(dump)] == [("Real", "Some prose.")]


@pytest.mark.model
def test_the_embedded_dump_is_clean() -> None:
    documents = wikipedia_documents(cache_directory())
    assert 100 <= len(documents) <= 110
    text = "\n".join(d.text for d in documents)
    assert 2.5e6 < len(text) < 3.1e6
    for leftover, at_most in (("[[", 5), ("{{", 5), ("''", 0), ("<ref", 0), ("()", 0)):
        assert text.count(leftover) <= at_most, leftover
