"""Registers the staff's templates with Django."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "muniment.server.console"
    label = "console"
