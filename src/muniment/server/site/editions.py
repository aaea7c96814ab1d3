"""The three editions: for whom, what is there today, what is still being built, each said as what it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edition:
    name: str
    title: str
    whom: str
    lead: str
    today: tuple[str, ...]
    later: tuple[str, ...]
    asked: str
    """What signing up asks for, and why no more."""


_EVERYWHERE = (
    "Files, names and sizes are sealed on your machine before they leave it.",
    "Every snapshot can be restored by itself, to any moment that was kept.",
    "A recovery kit on paper opens your vault without any device.",
    "Everything can be taken away as ordinary files, still sealed, with a program that needs none of ours.",
)

EDITIONS = (
    Edition(
        "home",
        "Home",
        "For you and those you live with",
        "Your letters, pictures and papers, on every machine you have, kept where nobody else can read them.",
        (
            *_EVERYWHERE,
            "Several machines share one vault; what they have in common is kept once.",
            "A stolen machine cannot delete: that takes your word, and three days to take it back.",
        ),
        ("Restoring in a browser.", "A vault for each person of a family under one allowance."),
        "An e-mail address, a password and your country. All else is up to you, and says why it is asked.",
    ),
    Edition(
        "pro",
        "Pro",
        "For a practice, a workshop, a firm",
        "The same sealed vaults, with what a business owes to the people whose files it keeps.",
        (
            *_EVERYWHERE,
            "You keep the keys, so you stay the one who answers for your clients' data.",
            "A record of what happened to it that you can check yourself, without us.",
        ),
        ("Groups of devices and people under one configuration.", "A key in escrow, if the firm wants it."),
        "What a contract needs, and nothing for a salesperson: nobody will call.",
    ),
    Edition(
        "enterprise",
        "Enterprise",
        "For organisations, partners and those who run it for others",
        "Run it on your own machines, or have it run. Whoever runs it cannot read what it keeps.",
        (
            *_EVERYWHERE,
            "One process and one directory, on a machine of your own.",
            "Every sentence of the privacy statement names what enforces it: an audit can begin there.",
        ),
        (
            "Tenants below tenants, for partners and resellers.",
            "Your own database and object store.",
            "Several regions that share nothing personal.",
        ),
        "What a contract needs, and nothing else.",
    ),
)  # fmt: skip


def edition(name: str) -> Edition | None:
    return next((one for one in EDITIONS if one.name == name), None)
