"""Where the frame's own answers are."""

from __future__ import annotations

from django.urls import path

from muniment.server.web.views import choose_appearance, static_file

urlpatterns = [
    path("static/<path:name>", static_file, name="static_file"),
    path("appearance", choose_appearance, name="choose_appearance"),
]
