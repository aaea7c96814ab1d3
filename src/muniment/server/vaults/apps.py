"""Registers the app of vaults with Django, and with the privacy package how vaults are erased."""

from django.apps import AppConfig
from django.utils.module_loading import import_string

from muniment.server.privacy.ports import register_eraser


class VaultsConfig(AppConfig):
    name = "muniment.server.vaults"
    label = "vaults"

    def ready(self) -> None:
        # By name: it imports models, which exist only from here on.
        register_eraser(import_string("muniment.server.vaults.erasing.VaultEraser")())
