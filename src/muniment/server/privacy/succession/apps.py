"""Registers the app of successions with Django."""

from django.apps import AppConfig


class SuccessionConfig(AppConfig):
    name = "muniment.server.privacy.succession"
    label = "privacy_succession"
