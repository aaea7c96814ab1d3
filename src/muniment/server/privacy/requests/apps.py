"""Registers the app of privacy requests with Django."""

from django.apps import AppConfig


class RequestsConfig(AppConfig):
    name = "muniment.server.privacy.requests"
    label = "privacy_requests"
