"""Registers the app of consent with Django."""

from django.apps import AppConfig


class ConsentConfig(AppConfig):
    name = "muniment.server.privacy.consent"
    label = "privacy_consent"
