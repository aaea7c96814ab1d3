"""The owner's pages as a Django app, so that their templates and static files are found."""

from __future__ import annotations

from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "muniment.server.portal"
    label = "portal"
