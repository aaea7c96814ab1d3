"""Codes for a further device, made by the account's owner and shown once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from muniment.model.codes import EnrolmentCode as CodeText
from muniment.model.codes import server_key_hash
from muniment.server.accounts.enrolment import make_code
from muniment.server.accounts.models import Account
from muniment.server.config import Tls
from muniment.server.deployment import Deployment
from muniment.server.identity import load_identity, public_key_of
from muniment.server.transactions import writing


@dataclass(frozen=True, slots=True)
class Invitation:
    code: str
    expires_at: datetime


def invite_device(deployment: Deployment, account: Account, *, new_vault: bool) -> Invitation:
    """A one-time code. Raises Refusal TOO_MANY where too many wait to be used."""
    now, life = deployment.now(), deployment.config.enrolment_life
    with writing():
        secret = make_code(account, makes_vault=new_vault, vault_ref=None, now=now, life=life)
    text = CodeText(
        secret,
        server_key_hash(public_key_of(load_identity(deployment.config.data))),
        new_vault=new_vault,
        pinned=deployment.config.tls is Tls.SELF,
    ).text()
    return Invitation(text, now + timedelta(seconds=life))
