"""The embedded Wikipedia dump: bzip2 XML with wiki markup, to plain articles.

The dump is streamed and stripped once; the result is cached as JSON under a key of the dump, this
parser's version and mwparserfromhell's, because the fingerprint of the corpus depends on them.
"""

from __future__ import annotations

import bz2
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pruner_zero.assets import ASSETS, Announce, fetch_asset, silent
from pruner_zero.data.documents import Document
from pruner_zero.data.store import Groups, stored_documents

PARSER_VERSION = 1  # raise it when the text that comes out changes

_ARTICLE_NAMESPACE = "0"
_DROPPED_TAGS = {
    "ref",
    "references",
    "gallery",
    "math",
    "table",
    "timeline",
    "score",
    "imagemap",
    "br",
}
_DROPPED_LINKS = ("file:", "image:", "media:", "category:")
# Lists of books and links: no prose, and most of their text went with the templates.
_DROPPED_SECTIONS = {
    *("references", "external links", "see also", "further reading", "bibliography", "notes"),
    *("sources", "citations", "footnotes", "notes and references", "references and notes"),
    *("gallery", "works cited", "endnotes", "discography", "filmography"),
}
_UNIT_TEMPLATES = {"convert", "cvt"}
_LAST_VALUE_TEMPLATES = {"lang", "transl"}
_FIRST_VALUE_TEMPLATES = {
    *("nowrap", "quote", "blockquote", "cquote", "linktext", "ipa", "angbr"),
    *("unicode", "polytonic", "script", "mvar", "var", "frac", "small"),
}
_TIDY = (
    (re.compile(r"<!--.*?-->|\{\||\|\}|__[A-Z]{3,}__", re.DOTALL), ""),
    (re.compile(r"^[ \t]*[|!].*$", re.MULTILINE), ""),  # rows of tables that were left open
    (re.compile(r"^[ \t]*(?:thumb|left|right|upright[\d.=]*)\|.*$", re.MULTILINE), ""),  # captions
    (re.compile(r"[(\[][\s,;:–-]*[)\]]"), ""),  # brackets whose templates are gone
    (re.compile(r"\([\s;,]+"), "("),
    (re.compile(r"'{2,}(?=\W|$)|(?<!\w)'{2,}"), ""),  # unbalanced bold and italics
    (re.compile(r"</?[a-zA-Z][^<>\n]*>"), ""),  # unbalanced tags
    (re.compile(r"\[\[(?:[^\[\]|\n]*\|)?([^\[\]|\n]*)\]\]"), r"\1"),  # links in unbalanced markup
    (re.compile(r"[ \t\u00a0]+"), " "),
    (re.compile(r" +([,.;:)])"), r"\1"),
    (re.compile(r"^[ \t]*[*#:;]+[ \t]*$", re.MULTILINE), ""),  # list items that are empty now
    (re.compile(r" *\n *"), "\n"),
    (re.compile(r"\n{3,}"), "\n\n"),
)


def wikipedia_documents(cache: Path, announce: Announce = silent) -> list[Document]:
    """Return the articles of the embedded Wikipedia dump.

    Args:
        cache: the cache folder.
        announce: takes one line for each slow step.

    Returns:
        One document per article, in the dump's order.

    Raises:
        UserError: the dump cannot be fetched or the cache cannot be written.
    """
    import mwparserfromhell

    def make() -> Groups:
        source = fetch_asset("wikipedia", cache, announce)
        announce("Stripping the markup of the Wikipedia articles (once)")
        return {"all": list(parse_dump(source))}

    dump = ASSETS["wikipedia"].sha256[:12]
    version = f"{PARSER_VERSION}-{mwparserfromhell.__version__}-{dump}"
    return list(stored_documents(cache / "texts" / f"wikipedia-{version}.json", make)["all"])


def parse_dump(path: Path) -> Iterator[Document]:
    """Stream the articles of a bzip2 MediaWiki export.

    Args:
        path: the ``.bz2`` file.

    Yields:
        Each article with text left after stripping; redirects and other namespaces are skipped.
    """
    with bz2.open(path) as stream:
        for _, element in ElementTree.iterparse(stream):
            if _local_name(element) != "page":
                continue
            fields = {_local_name(child): child for child in element.iter()}
            namespace = fields["ns"].text if "ns" in fields else _ARTICLE_NAMESPACE
            markup = (fields["text"].text if "text" in fields else None) or ""
            if namespace == _ARTICLE_NAMESPACE and "redirect" not in fields:
                text = plain_text(markup)
                if text:
                    yield Document(fields["title"].text or "", text)
            element.clear()  # the tree of the whole dump would take a hundred times its text


def plain_text(markup: str) -> str:
    """Return the prose of one page of wiki markup.

    Args:
        markup: MediaWiki source.

    Returns:
        Paragraphs and headings separated by newlines: without templates, tables, references,
        pictures and their captions, categories, and the lists of sources at the end.
    """
    import mwparserfromhell
    from mwparserfromhell.nodes import Heading

    pieces = []
    skipping = 0  # level of the heading whose section is being left out; 0 = none
    for node in mwparserfromhell.parse(markup).nodes:
        if isinstance(node, Heading):
            title = _render(node.title).strip().lower()
            if not skipping or node.level <= skipping:
                skipping = node.level if title in _DROPPED_SECTIONS else 0
        if not skipping:
            pieces.append(_render_node(node))
    text = "".join(pieces)
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    return text.strip()


def _render(code: Any) -> str:
    return "".join(_render_node(node) for node in code.nodes)


def _render_node(node: Any) -> str:
    """Text that a reader sees of one node (strip_code keeps captions and drops quotations)."""
    from mwparserfromhell import nodes

    if isinstance(node, nodes.Text):
        return str(node.value)
    if isinstance(node, nodes.Wikilink):
        if str(node.title).strip().lower().lstrip(":").startswith(_DROPPED_LINKS):
            return ""
        return _render(node.title if node.text is None else node.text)
    if isinstance(node, nodes.Tag):
        if node.contents is None or str(node.tag).strip().lower() in _DROPPED_TAGS:
            return ""
        return _render(node.contents)
    if isinstance(node, nodes.Template):
        return _render_template(node)
    if isinstance(node, nodes.Heading):
        return _render(node.title)
    if isinstance(node, nodes.ExternalLink):
        return _render(node.title) if node.title is not None else ""
    if isinstance(node, nodes.HTMLEntity):
        return str(node.normalize())
    return ""  # comments and arguments of templates


def _render_template(template: Any) -> str:
    """Text of the few templates that carry words of the sentence; all others vanish."""
    name = str(template.name).strip().lower()
    values = [_render(p.value).strip() for p in template.params if not p.showkey]
    if name in _UNIT_TEMPLATES and len(values) >= 2:
        return f"{values[0]} {values[1]}"
    if name in _LAST_VALUE_TEMPLATES and values:
        return values[-1]
    if name in _FIRST_VALUE_TEMPLATES and values:
        return values[0]
    return ""


def _local_name(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]
