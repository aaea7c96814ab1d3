"""Registers the app of the versions with Django."""

from django.apps import AppConfig


class VersionsConfig(AppConfig):
    name = "muniment.server.privacy.versions"
    label = "privacy_versions"
