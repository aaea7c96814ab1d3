"""Registers the app of orders with Django."""

from django.apps import AppConfig


class DisclosuresConfig(AppConfig):
    name = "muniment.server.privacy.disclosures"
    label = "privacy_disclosures"
