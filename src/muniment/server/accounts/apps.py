from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "muniment.server.accounts"
    label = "accounts"
