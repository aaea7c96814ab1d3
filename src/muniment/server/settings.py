"""Django's settings, made from a ServerConfig. Read as a module only by tools (migrations, type checker)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from muniment.server.config import ServerConfig

# TRUNCATE rather than DELETE: with synchronous=FULL SQLite syncs the emptied journal, so that a power cut
# right after a commit cannot bring the journal back and roll the acknowledged commit away.
_SQLITE_PRAGMAS = "PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"


def django_settings(config: ServerConfig, *, secret_key: str = "not served") -> dict[str, Any]:
    """The settings for `config`; `secret_key` signs what the website sends (nothing yet)."""
    return {
        "SECRET_KEY": secret_key,
        "DEBUG": False,
        "ALLOWED_HOSTS": ["*"],  # there are no links in mails yet; the website will name its hosts
        "ROOT_URLCONF": "muniment.server.urls",
        "INSTALLED_APPS": [
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "muniment.server.privacy.apps.PrivacyConfig",
            "muniment.server.privacy.ledger.apps.LedgerConfig",
            "muniment.server.accounts.apps.AccountsConfig",
            "muniment.server.vaults.apps.VaultsConfig",
        ],
        "MIDDLEWARE": ["django.middleware.security.SecurityMiddleware"],
        "AUTH_USER_MODEL": "accounts.Account",
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "DATABASES": {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(config.database),
                "CONN_MAX_AGE": None,
                "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 30, "init_command": _SQLITE_PRAGMAS},
            }
        },
        "LEDGER_KEY_FILE": config.data / "ledger.key",
        "REGION": "local",
        "USE_TZ": True,
        "TIME_ZONE": "UTC",
        "USE_I18N": False,
        "LOGGING_CONFIG": None,
    }


globals().update(django_settings(ServerConfig(data=Path(".serve"))))
