"""Registers the app of the register of breaches with Django, and its live number."""

from django.apps import AppConfig
from django.utils.module_loading import import_string

from muniment.server.privacy.figures import register_figure


class BreachesConfig(AppConfig):
    name = "muniment.server.privacy.breaches"
    label = "privacy_breaches"

    def ready(self) -> None:
        register_figure("breaches", import_string("muniment.server.privacy.breaches.register.count_late"))
