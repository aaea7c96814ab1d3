"""Where the public pages are."""

from __future__ import annotations

from django.urls import path

from muniment.server.site.home import editions, home

urlpatterns = [
    path("", home, name="home"),
    path("editions", editions, name="editions"),
]
