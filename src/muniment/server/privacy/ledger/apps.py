"""Registers the app of the ledger with Django."""

from django.apps import AppConfig


class LedgerConfig(AppConfig):
    name = "muniment.server.privacy.ledger"
    label = "privacy_ledger"
