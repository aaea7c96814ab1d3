"""Devices come in, vaults are made."""

from __future__ import annotations

from datetime import datetime

from muniment.server.accounts.enrolment import check_known, redeem_code
from muniment.server.accounts.models import Device
from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal, not_granted
from muniment.server.transactions import writing
from muniment.server.vaults.access import new_device_token, token_hash
from muniment.server.vaults.events import EventKind, record_event
from muniment.server.vaults.models import Grant, Vault
from muniment.server.vaults.refs import parse_ref, seconds
from muniment.server.vaults.reserves import share_out
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode


def vault_info(vault: Vault) -> m.VaultInfo:
    return m.VaultInfo(
        vault=vault.ref.hex,
        name=vault.name,
        created_at=seconds(vault.created_at),
        allowance=vault.allowance,
        used=vault.used,
    )


def enrol_device(deployment: Deployment, request: m.EnrolRequest) -> m.Enrolled:
    """Trade a code for a device with a token and grants on the vaults that the code opens."""
    now, token = deployment.now(), new_device_token()
    check_known(request.secret)
    with writing():
        code, device, is_new = redeem_code(
            request.secret,
            device_name=request.device_name,
            public_key=request.public_key,
            token_sha256=token_hash(token),
            now=now,
        )
        vaults = Vault.objects.filter(owner=code.account)
        if code.vault_ref is not None:
            vaults = vaults.filter(ref=code.vault_ref)
        if code.makes_vault:
            vaults = vaults.filter(grants__device=device)  # only what it made itself, on a repeat
        granted = list(vaults.order_by("id"))
        if is_new:
            for vault in granted:
                _grant(deployment, vault, device, now=now)
    return m.Enrolled(
        device=device.ref.hex,
        token=token,
        account=code.account.ref.hex,
        vaults=[vault_info(vault) for vault in granted],
    )


def create_vault(deployment: Deployment, device: Device, request: m.CreateVault) -> m.VaultInfo:
    """Make a vault. Allowed once for a device whose code says so, and for an account that has none yet."""
    now, ref = deployment.now(), parse_ref(request.vault)
    with writing():
        existing = Vault.objects.filter(ref=ref).first()
        if existing is not None:
            if Grant.objects.filter(vault=existing, device=device).exists():
                return vault_info(existing)
            raise Refusal(ErrorCode.VAULT_EXISTS, "the vault id is taken")
        device = Device.objects.select_for_update(of=("self",)).select_related("account").get(pk=device.pk)
        if not device.makes_vault and Vault.objects.filter(owner=device.account).exists():
            raise Refusal(
                ErrorCode.VAULT_EXISTS,
                "the account has a vault already",
                advice="Connect with --existing, or ask the operator for a code that makes a new vault.",
            )
        if device.revoked_at is not None:
            raise not_granted("this device was revoked")
        allowance = device.account.allowance
        vault = Vault.objects.create(
            ref=ref,
            owner=device.account,
            name=request.name,
            created_at=now,
            allowance=deployment.config.allowance if allowance is None else allowance,
        )
        Device.objects.filter(pk=device.pk).update(makes_vault=False, last_seen_at=now)
        record_event(vault, EventKind.VAULT_CREATED, now=now, device=device)
        _grant(deployment, vault, device, now=now)
    return vault_info(vault)


def _grant(deployment: Deployment, vault: Vault, device: Device, *, now: datetime) -> None:
    Grant.objects.create(vault=vault, device=device, granted_at=now)
    share_out(vault, share=deployment.config.reserve_share)
    record_event(vault, EventKind.DEVICE_ENROLLED, now=now, device=device)
