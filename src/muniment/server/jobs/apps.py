"""Registers the app of jobs with Django."""

from __future__ import annotations

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "muniment.server.jobs"
    label = "jobs"
