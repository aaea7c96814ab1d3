"""Registers the app of vaults with Django, and how an account's vaults are erased with the privacy package."""

from django.apps import AppConfig
from django.utils.module_loading import import_string

from muniment.server.privacy.ports import register_eraser


class VaultsConfig(AppConfig):
    name = "muniment.server.vaults"
    label = "vaults"

    def ready(self) -> None:
        # By name: it imports models, which exist only from here on.
        register_eraser(import_string("muniment.server.vaults.erasing.VaultEraser")())
