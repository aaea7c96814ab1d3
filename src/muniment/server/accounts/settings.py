"""Django's and allauth's settings of signing in. Merged by `muniment.server.settings`; imports no model."""

from __future__ import annotations

from typing import Any

from muniment.server.config import ServerConfig

TWO_WEEKS = 14 * 24 * 3600
FRESH_SECONDS = 300
"""How long a fresh sign-in counts."""

APPS = ["muniment.server.accounts.apps.AccountsConfig", "allauth", "allauth.account", "allauth.mfa"]

MIDDLEWARE = [
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "muniment.server.accounts.middleware.AskAgain",
    "muniment.server.accounts.middleware.watch_sessions",
]


def sign_in_settings(config: ServerConfig) -> dict[str, Any]:
    return {
        "SESSION_ENGINE": "muniment.server.accounts.sessions",
        "SESSION_COOKIE_AGE": TWO_WEEKS,
        "MESSAGE_STORAGE": "django.contrib.messages.storage.session.SessionStorage",
        "AUTHENTICATION_BACKENDS": ["allauth.account.auth_backends.AuthenticationBackend"],
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.Argon2PasswordHasher"],
        "AUTH_PASSWORD_VALIDATORS": [
            {
                "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
                "OPTIONS": {"min_length": 10},
            },
            {"NAME": "muniment.server.accounts.passwords.BreachedPasswordValidator"},
        ],
        "LOGIN_URL": "/accounts/login",
        "LOGIN_REDIRECT_URL": "/overview",
        "ACCOUNT_ADAPTER": "muniment.server.accounts.adapter.AccountAdapter",
        "ACCOUNT_USER_MODEL_USERNAME_FIELD": None,
        "ACCOUNT_LOGIN_METHODS": {"email"},
        "ACCOUNT_SIGNUP_FIELDS": ["email*", "password1*"],
        "ACCOUNT_EMAIL_VERIFICATION": "none",  # ours: nobody signs in before `confirmed_at`
        "ACCOUNT_LOGOUT_REDIRECT_URL": "/",
        "ACCOUNT_SESSION_REMEMBER": True,
        "ACCOUNT_REAUTHENTICATION_TIMEOUT": FRESH_SECONDS,
        # allauth counts in a cache, which processes would not share; ours are in the database (`attempts`).
        "ACCOUNT_RATE_LIMITS": False,
        "MFA_RATE_LIMITS": False,
        "ACCOUNT_FORMS": {
            "login": "muniment.server.accounts.sign_in_forms.SignInForm",
            "reauthenticate": "muniment.server.accounts.sign_in_forms.FreshPasswordForm",
        },
        "MFA_ADAPTER": "muniment.server.accounts.adapter.FactorAdapter",
        "MFA_SUPPORTED_TYPES": ["totp", "webauthn", "recovery_codes"],
        "MFA_FORMS": {
            "authenticate": "muniment.server.accounts.sign_in_forms.CodeForm",
            "reauthenticate": "muniment.server.accounts.sign_in_forms.FreshCodeForm",
            "login_webauthn": "muniment.server.accounts.sign_in_forms.PasskeyLoginForm",
            "authenticate_webauthn": "muniment.server.accounts.sign_in_forms.PasskeyForm",
            "reauthenticate_webauthn": "muniment.server.accounts.sign_in_forms.FreshPasskeyForm",
        },
        "MFA_TOTP_TOLERANCE": 1,
        "MFA_PASSKEY_LOGIN_ENABLED": True,
        "MFA_RECOVERY_CODES_SHOW_ONCE": True,
        # Browsers hold `http://localhost` for safe; a server without TLS is only reached there.
        "MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN": not config.is_https,
    }
