"""The public pages as a Django app, so that their templates are found."""

from __future__ import annotations

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "muniment.server.site"
    label = "site"
