"""Devices come in, vaults are made."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from muniment.server.accounts.enrolment import check_known, redeem_code
from muniment.server.accounts.models import Account, Device
from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal, not_granted
from muniment.server.transactions import writing
from muniment.server.vaults.access import lock_vault, new_device_token, token_hash
from muniment.server.vaults.events import record_event
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.models import ClosedVault, Grant, Vault
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
        vaults = Vault.objects.filter(owner=code.account, closing_at=None)
        if code.vault_ref is not None:
            vaults = vaults.filter(ref=code.vault_ref)
        if code.makes_vault:
            vaults = vaults.filter(grants__device=device)  # only what it made itself, on a repeat
        granted = list(vaults.order_by("id"))
        if code.vault_ref is not None and not granted:
            raise Refusal(
                ErrorCode.CODE_SPENT,
                "the vault that the code opens was closed",
                advice="Ask the operator for a code that makes a new vault.",
            )
        if is_new:
            # All vaults' rows before the first event, which takes the ledger's.
            for vault in [lock_vault(vault) for vault in granted]:
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
        # Two devices of one account must not each find that it has no vault.
        account = Account.objects.select_for_update(no_key=True).get(pk=device.account_id)
        device = Device.objects.get(pk=device.pk)
        if device.revoked_at is not None:
            raise not_granted("this device was revoked")
        made_before = _made_before(ref, device)
        if made_before is not None:
            return vault_info(made_before)
        _check_may_make(deployment, account, device)
        vault = Vault.objects.create(
            ref=ref,
            owner=account,
            name=request.name,
            created_at=now,
            allowance=deployment.config.allowance if account.allowance is None else account.allowance,
        )
        Device.objects.filter(pk=device.pk).update(makes_vault=False, last_seen_at=now)
        record_event(vault, EventKind.VAULT_CREATED, now=now, device=device)
        _grant(deployment, vault, device, now=now)
    return vault_info(vault)


def _made_before(ref: UUID, device: Device) -> Vault | None:
    """The vault, on a repeat; VAULT_EXISTS where the id is another's, or of a vault that was closed."""
    existing = Vault.objects.filter(ref=ref).first()
    if existing is not None and existing.closing_at is None and _may_use(device, existing):
        return existing
    if existing is not None or ClosedVault.objects.filter(ref=ref).exists():
        raise Refusal(ErrorCode.VAULT_EXISTS, "the vault id is taken")
    return None


def _may_use(device: Device, vault: Vault) -> bool:
    return Grant.objects.filter(vault=vault, device=device).exists()


def _check_may_make(deployment: Deployment, account: Account, device: Device) -> None:
    count = Vault.objects.filter(owner=account, closing_at=None).count()
    if count and not device.makes_vault:
        raise Refusal(
            ErrorCode.VAULT_EXISTS,
            "the account has a vault already",
            advice="Connect with --existing, or ask the operator for a code that makes a new vault.",
        )
    if count >= deployment.config.vaults:
        raise Refusal(
            ErrorCode.VAULT_EXISTS,
            f"the account has {count} vaults, as many as it may",
            advice="Back up into one of them, or have one that nobody needs closed.",
        )


def _grant(deployment: Deployment, vault: Vault, device: Device, *, now: datetime) -> None:
    Grant.objects.create(vault=vault, device=device, granted_at=now)
    share_out(vault, share=deployment.config.reserve_share)
    record_event(vault, EventKind.DEVICE_ENROLLED, now=now, device=device)
