"""Django's settings, made from a ServerConfig. Read as a module only by tools (migrations, type checker)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from muniment.server.accounts import settings as sign_in
from muniment.server.config import ServerConfig
from muniment.server.database import database_settings
from muniment.server.web.hosts import served_names

_CONTEXT = [
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
    "muniment.server.web.frame.frame",
    "muniment.server.site.banner.version_banner",
    "muniment.server.web.choices.first_layer",
    "muniment.server.web.choices.beacons",
]


def django_settings(config: ServerConfig, *, secret_key: str = "not served") -> dict[str, Any]:
    """The settings for `config`; `secret_key` signs what the website sends."""
    names = served_names(listening=config.host, named=config.host_names)
    return {
        "SECRET_KEY": secret_key,
        "DEBUG": False,
        "ALLOWED_HOSTS": sorted(names),
        "SERVED_NAMES": names,
        "ROOT_URLCONF": "muniment.server.urls",
        "INSTALLED_APPS": [
            *(f"django.contrib.{name}" for name in ("contenttypes", "auth", "messages", "staticfiles")),
            "muniment.server.web.apps.WebConfig",
            "muniment.server.site.apps.SiteConfig",
            "muniment.server.portal.apps.PortalConfig",
            "muniment.server.privacy.apps.PrivacyConfig",
            "muniment.server.privacy.ledger.apps.LedgerConfig",
            "muniment.server.privacy.versions.apps.VersionsConfig",
            "muniment.server.privacy.succession.apps.SuccessionConfig",
            "muniment.server.privacy.breaches.apps.BreachesConfig",
            "muniment.server.privacy.consent.apps.ConsentConfig",
            "muniment.server.privacy.requests.apps.RequestsConfig",
            "muniment.server.privacy.retention.apps.RetentionConfig",
            "muniment.server.privacy.disclosures.apps.DisclosuresConfig",
            *sign_in.APPS,
            "muniment.server.mail.apps.MailConfig",
            "muniment.server.console.apps.ConsoleConfig",
            "muniment.server.jobs.apps.JobsConfig",
            "muniment.server.vaults.apps.VaultsConfig",
        ],
        "MIDDLEWARE": [
            "muniment.server.web.middleware.protect",
            "muniment.server.web.cookies.guard_cookies",
            "muniment.server.web.middleware.answer_known_hosts",
            "muniment.server.web.middleware.bound_bodies",
            "muniment.server.web.purposes.open_visit",
            "muniment.server.web.middleware.read_signals",
            "muniment.server.web.choices.read_choices",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "muniment.server.web.csrf.FormsOfOurOwn",
            *sign_in.MIDDLEWARE,
            "muniment.server.web.choices.hear_signal",
            "muniment.server.web.recipients.admit_recipients",
            "muniment.server.web.cookies.drop_unasked",
        ],
        "TEMPLATES": [
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": _CONTEXT},
            }
        ],
        "FORM_RENDERER": "muniment.server.web.forms.Renderer",
        "STATIC_URL": "/static/",
        "STORAGES": {
            "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
            "staticfiles": {"BACKEND": "muniment.server.web.assets.HashedNames"},
        },
        "DATA_UPLOAD_MAX_MEMORY_SIZE": config.form_size,
        "DATA_UPLOAD_MAX_NUMBER_FIELDS": 200,
        "APPEND_SLASH": False,
        "CSRF_FAILURE_VIEW": "muniment.server.web.errors.csrf_failed",
        "CSRF_COOKIE_HTTPONLY": True,
        "CSRF_COOKIE_SAMESITE": "Lax",
        "CSRF_COOKIE_SECURE": config.is_https,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": config.is_https,
        # Only where the operator says that a proxy does TLS; it has to set this header itself.
        "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https") if config.is_behind_tls else None,
        "AUTH_USER_MODEL": "accounts.Account",
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "DATABASES": {"default": database_settings(config)},
        "LEDGER_KEY_FILE": config.data / "ledger.key",
        "REGION": "home",
        **sign_in.sign_in_settings(config),
        "USE_TZ": True,
        "TIME_ZONE": "UTC",
        "USE_I18N": False,
        "LOGGING_CONFIG": None,
    }


# For the type checker, which cannot see what the next line sets.
LEDGER_KEY_FILE: Path
REGION: str
SERVED_NAMES: frozenset[str]

globals().update(django_settings(ServerConfig(data=Path(".serve"))))
