"""Declarations for columns that are not ours: Django's own models and the tables it makes by itself."""

from __future__ import annotations

from muniment.server.privacy.registry import Erase, External, Personal, Placement, Public

_PLUMBING = Public("describes the program, not a person")
_MEMBERSHIP = Personal("credential", ("sign_in",), "account", Erase.DELETE)


def _plumbing(*columns: str) -> External:
    return External("", Placement.REGION, dict.fromkeys(columns, _PLUMBING))


_ADDRESS = Personal("contact", ("sign_in",), "account", Erase.DELETE)
_FACTOR = Personal("credential", ("sign_in",), "account", Erase.DELETE)
_USED = Personal("activity", ("security",), "account", Erase.DELETE)

EXTERNAL: dict[str, External] = {
    "contenttypes.ContentType": _plumbing("id", "app_label", "model"),
    "auth.Permission": _plumbing("id", "name", "content_type_id", "codename"),
    "auth.Group": _plumbing("id", "name"),
    "auth.Group_permissions": _plumbing("id", "group_id", "permission_id"),
    "migrations.Migration": _plumbing("id", "app", "name", "applied"),
    # allauth: the address again, as it looks it up; it makes no links of its own, so that table stays empty.
    "account.EmailAddress": External(
        "user",
        Placement.REGION,
        {"id": _PLUMBING, "user_id": _ADDRESS, "email": _ADDRESS, "verified": _ADDRESS, "primary": _ADDRESS},
    ),
    "account.EmailConfirmation": External(
        "email_address__user",
        Placement.REGION,
        {"id": _PLUMBING, "email_address_id": _ADDRESS, "created": _USED, "sent": _USED, "key": _FACTOR},
    ),
    # Passkeys (public keys), seeds of authenticator apps and recovery codes (sealed).
    "mfa.Authenticator": External(
        "user",
        Placement.REGION,
        {
            "id": _PLUMBING,
            "user_id": _FACTOR,
            "type": _FACTOR,
            "data": _FACTOR,
            "created_at": _USED,
            "last_used_at": _USED,
        },
    ),
    "accounts.Account_groups": External(
        "account",
        Placement.REGION,
        {"id": _PLUMBING, "account_id": _MEMBERSHIP, "group_id": _MEMBERSHIP},
    ),
    "accounts.Account_user_permissions": External(
        "account",
        Placement.REGION,
        {"id": _PLUMBING, "account_id": _MEMBERSHIP, "permission_id": _MEMBERSHIP},
    ),
}
