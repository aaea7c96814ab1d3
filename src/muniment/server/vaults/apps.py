"""Registers the app of vaults with Django."""

from django.apps import AppConfig


class VaultsConfig(AppConfig):
    name = "muniment.server.vaults"
    label = "vaults"
