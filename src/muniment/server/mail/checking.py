"""The lint of mails: every template has a class, service mail sells nothing, nothing is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.template.loader import get_template

from muniment.server.mail.messages import MESSAGES, Message
from muniment.server.privacy.terms import MessageClass

_SERVER = Path(__file__).resolve().parent.parent
_PROMOTIONAL = re.compile(
    r"\b(discounts?|special offers?|offers?|upgrade (?:now|today)|sale|save \d+|\d+ ?% off|limited time|"
    r"try our|recommend(?:ed)? (?:product|plan)s?|refer a friend|tell your friends|promotions?)\b",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"https?://|www\.", re.IGNORECASE)
_MARKUP = re.compile(r"<\s*(img|script|iframe|link|style|a)\b", re.IGNORECASE)
_PERSONAL_IN_LINK = re.compile(r"\{\{\s*site\s*\}\}[^\s]*\{\{\s*(?!path\b|url\b)\w+\s*\}\}")


def complaints(messages: Iterable[type[Message]] | None = None, *, root: Path = _SERVER) -> list[str]:
    """What is wrong with the messages and templates of this release; empty where nothing is."""
    found = list(MESSAGES if messages is None else messages)
    return [*_orphans(found, root), *(text for one in found for text in _of_message(one))]


def text_complaints(text: str, message_class: MessageClass) -> Iterator[str]:
    """What a template's text may not have."""
    if message_class is MessageClass.SERVICE:
        sold = _PROMOTIONAL.search(text)
        if sold is not None:
            yield f"it is service mail and says {sold[0]!r}"
    if _ADDRESS.search(text):
        yield "it names an address of its own: links begin with {{ site }}"
    markup = _MARKUP.search(text)
    if markup is not None:
        yield f"it has markup ({markup[0]}): what a mail loads tells that it was opened"
    if _PERSONAL_IN_LINK.search(text):
        yield "it puts something beside path into a link: addresses of pages get into logs"


def _of_message(message: type[Message]) -> Iterator[str]:
    for text in text_complaints(source_of(message), message.message_class):
        yield f"{message.__name__} ({message.template}): {text}"
    if message.message_class is MessageClass.SERVICE and _PROMOTIONAL.search(message.subject):
        yield f"{message.__name__}: its subject sells something"


def source_of(message: type[Message]) -> str:
    """The template as it is written."""
    origin = get_template(message.template).origin  # type: ignore[attr-defined]
    return Path(origin.name).read_text(encoding="utf-8")


def _orphans(messages: list[type[Message]], root: Path) -> Iterator[str]:
    known = {message.template for message in messages}
    for path in sorted(root.glob("**/templates/**/mail/**/*.txt")):
        name = str(path).partition("/templates/")[2]
        if name not in known:
            yield f"the template {name} belongs to no message, so it has no class"
