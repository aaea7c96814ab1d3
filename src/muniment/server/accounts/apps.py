"""Registers the app of accounts with Django."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "muniment.server.accounts"
    label = "accounts"
