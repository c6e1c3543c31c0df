"""Reads a page back, as a browser would, and says what is in it."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any


@dataclass
class Element:
    """A start tag: its attributes, and the text from it to the next one, without the space around it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """The elements of a page in their order."""

    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.elements:
            self.elements[-1].text += data

    def all(self, tag: str, css: str | None = None) -> list[Element]:
        return [
            element
            for element in self.elements
            if element.tag == tag and (css is None or css in element.attributes.get("class", "").split())
        ]

    @property
    def data(self) -> dict[str, Any]:
        (element,) = [e for e in self.all("script") if e.attributes.get("id") == "run"]
        loaded: dict[str, Any] = json.loads(element.text)
        return loaded


def read(text: str) -> Page:
    """The page that this text is."""
    page = Page()
    page.feed(text)
    page.close()
    for element in page.elements:
        element.text = element.text.strip()
    return page
