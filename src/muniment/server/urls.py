"""What Django serves so far: whether the service is well, and a plain first page."""

from __future__ import annotations

from django.urls import path

from muniment.server.health import front_page, healthz

urlpatterns = [path("", front_page), path("healthz", healthz)]
