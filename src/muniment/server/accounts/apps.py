"""Registers the app of accounts with Django."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import import_string

from muniment.server.privacy.ports import register_corrector, register_late


class AccountsConfig(AppConfig):
    name = "muniment.server.accounts"
    label = "accounts"

    def ready(self) -> None:
        # By name: hooks import models, which exist only from here on.
        import_string("muniment.server.accounts.hooks.connect")()
        register_late("unconfirmed", import_string("muniment.server.accounts.unconfirmed.late_to_confirm"))
        register_corrector(import_string("muniment.server.accounts.correcting.ProfileCorrector")())
