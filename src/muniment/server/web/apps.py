"""The frame as a Django app, so that its templates and static files are found."""

from __future__ import annotations

from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "muniment.server.web"
    label = "web"
