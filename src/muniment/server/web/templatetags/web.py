"""`{% load web %}`: the seal, states, verdicts, and links that leave."""

from __future__ import annotations

import math
from urllib.parse import urlsplit

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from muniment.server.web.context import deployment

register = template.Library()

_LOBES = 15
_KEYHOLE = "M32 19a8 8 0 0 1 4.6 14.5L39.5 46h-15l2.9-12.5A8 8 0 0 1 32 19Z"
_HOLE = "M32 23.2a3.6 3.6 0 0 1 2 6.6L36 42.4h-8l2-12.6a3.6 3.6 0 0 1 2-6.6Z"
_CALL = "M30.1 17h3.8v21h-3.8ZM29.7 43.3h4.6v4.6h-4.6Z"
PROVEN, NEEDS_YOU = "proven", "needs you"
_SHAPE = {
    "proven": PROVEN, "good": PROVEN, "attention": NEEDS_YOU, "bad": NEEDS_YOU, "quiet": "",
}  # fmt: skip


class NotAState(template.TemplateSyntaxError):
    """States are proven, good, attention, bad and quiet."""


class NotOutside(template.TemplateSyntaxError):
    """`external_link` is for https links that leave this site."""


def _wax() -> str:
    """The outline of the wax: lobes around a circle of radius 30 in a box of 64."""

    def at(radius: float, step: float) -> str:
        angle = math.tau * step / _LOBES - math.pi / 2
        return f"{32 + radius * math.cos(angle):.1f} {32 + radius * math.sin(angle):.1f}"

    lobes = (f"Q{at(31.6, number + 0.5)} {at(28.2, number + 1)}" for number in range(_LOBES))
    return f"M{at(28.2, 0)}" + "".join(lobes) + "Z"


WAX = _wax()


@register.simple_tag
def seal(state: str, *, size: int = 32, label: str = "") -> SafeString:
    """The seal in the colour of `state`: keyhole = proven, "!" = needs you, an outline = no proof.

    Without `label` it is silent for those who listen: then the words beside it have to say the same.
    """
    if state not in _SHAPE:
        raise NotAState(f"{state!r} is no state")
    said = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    if not _SHAPE[state]:
        drawn = format_html('<path class="seal-outline" d="{}"/>', WAX)
    elif _SHAPE[state] is PROVEN:
        drawn = format_html(
            '<path class="seal-wax" d="{}"/><path class="seal-mark" fill-rule="evenodd" d="{}{}"/>',
            WAX, _KEYHOLE, _HOLE,
        )  # fmt: skip
    else:
        drawn = format_html('<path class="seal-wax" d="{}"/><path class="seal-mark" d="{}"/>', WAX, _CALL)
    return format_html(
        '<svg class="seal seal-{}" width="{}" height="{}" viewBox="0 0 64 64" focusable="false" {}>{}</svg>',
        state, size, size, said, drawn,
    )  # fmt: skip


@register.simple_tag
def state(kind: str, words: str) -> SafeString:
    """A pill that says `words` in the colour of a state: good, attention, bad, quiet."""
    if kind not in _SHAPE or kind == "proven":
        raise NotAState(f"{kind!r} is no state")
    return format_html('<span class="state state-{}">{}</span>', kind, words)


@register.simple_tag
def external_link(url: str, text: str) -> SafeString:
    """A link that leaves: marked for eyes and ears, and the other site is not told whence one comes."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise NotOutside(f"{url!r} is no https address")
    return format_html(
        '<a class="external" href="{}" rel="external noreferrer noopener" data-external>{}'
        '<span class="visually-hidden"> (leaves this site: {})</span></a>',
        url, text, parts.hostname,
    )  # fmt: skip


@register.inclusion_tag("web/verdict.html")
def verdict(state: str, heading: str, reason: str, *, action: str = "", href: str = "") -> dict[str, str]:
    """The first thing on a page: what is so, why, and what to do about it."""
    return {"state": state, "heading": heading, "reason": reason, "action": action, "href": href}


@register.inclusion_tag("web/empty.html")
def empty(heading: str, reason: str, *, action: str = "", href: str = "") -> dict[str, str]:
    """What stands where there is nothing yet: why, and how something would come."""
    return {"heading": heading, "reason": reason, "action": action, "href": href}


@register.inclusion_tag("web/mail_waits.html")
def mail_waits() -> dict[str, object]:
    """Where a page says that a mail was sent: that none leaves, as long as there is no mail server."""
    config = deployment().config
    return {"waits": not config.smtp_url, "page": "/mailbox" if config.shows_mailbox else ""}


@register.simple_block_tag
def notice(content: str, state: str, *, title: str = "") -> SafeString:
    """A banner: `{% notice "attention" title="…" %}…{% endnotice %}`."""
    heading = format_html('<p class="notice-title">{}</p>', title) if title else ""
    return format_html(
        '<div class="notice notice-{}" role="{}">{}<div>{}{}</div></div>',
        state, "alert" if state == "bad" else "status", seal(state, size=28), heading, mark_safe(content),
    )  # fmt: skip
