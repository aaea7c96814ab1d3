"""`{% load passkeys %}`: passkeys where they work, and where they work instead."""

from __future__ import annotations

from typing import Any

from django import template

from muniment.server.accounts.passkey_place import PasskeyPlace, passkey_place

register = template.Library()


@register.simple_tag(takes_context=True)
def passkeys_here(context: dict[str, Any]) -> PasskeyPlace:
    """`{% passkeys_here as passkeys %}`, then `passkeys.works`."""
    return passkey_place(context["request"])
