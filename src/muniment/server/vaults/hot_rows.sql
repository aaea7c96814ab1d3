-- The statements that run for every pack. Plain SQL, because building a query costs Django more than the
-- database needs to answer it, and sixty-four packs make a gibibyte. The same text serves SQLite and PostgreSQL.

-- name: grant_of_token
-- Who calls, at which vault: one row for a device with a grant, and how the two stand.
SELECT v.id, v.ref, v.allowance, v.used, d.id, d.ref, g.pending,
       (SELECT CAST(COALESCE(SUM(o.reserved), 0) AS BIGINT)
        FROM vaults_grant o JOIN accounts_device e ON e.id = o.device_id
        WHERE o.vault_id = g.vault_id AND o.device_id <> g.device_id AND e.revoked_at IS NULL),
       CASE WHEN d.revoked_at IS NOT NULL OR NOT a.is_active THEN 'revoked'
            WHEN v.closing_at IS NOT NULL THEN 'closed' ELSE 'welcome' END
FROM vaults_grant g
JOIN vaults_vault v ON v.id = g.vault_id
JOIN accounts_device d ON d.id = g.device_id
JOIN accounts_account a ON a.id = d.account_id
WHERE d.token_sha256 = %s AND v.ref = %s

-- name: live_session
-- A device's own session while it is open: not closed, not past its end, not silent for too long.
SELECT s.id, s.purpose
FROM vaults_session s
WHERE s.ref = %s AND s.vault_id = %s AND s.device_id = %s
  AND s.closed_at IS NULL AND s.ends_at > %s AND s.alive_at > %s

-- name: present_pack
-- The one row of a pack that is held or in quarantine.
SELECT p.id, p.object_key, p.state, p.size, p.sha256, p.kind, p.epoch
FROM vaults_pack p
WHERE p.vault_id = %s AND p.ref = %s AND p.state IN ('live', 'condemned', 'quarantined')

-- name: add_incoming
-- Commits before the first byte of its object: only rows name objects to remove.
INSERT INTO vaults_pack
  (vault_id, ref, kind, epoch, size, sha256, state, object_key, sender_id, session_id, received_at, pending)
VALUES (%s, %s, %s, %s, %s, %s, 'incoming', %s, %s, %s, %s, %s)
RETURNING id

-- name: hold_vault
-- Changes nothing; holds the vault's row, so that two packs that end at once are metered one after the other.
UPDATE vaults_vault SET used = used WHERE id = %s

-- name: standing_of_grant
-- What may have changed since access was opened: room, pending bytes, room kept for the others, how the device
-- stands, and the room kept for itself.
SELECT v.allowance, v.used, g.pending,
       (SELECT CAST(COALESCE(SUM(o.reserved), 0) AS BIGINT)
        FROM vaults_grant o JOIN accounts_device e ON e.id = o.device_id
        WHERE o.vault_id = g.vault_id AND o.device_id <> g.device_id AND e.revoked_at IS NULL),
       CASE WHEN d.revoked_at IS NOT NULL THEN 'revoked'
            WHEN v.closing_at IS NOT NULL THEN 'closed' ELSE 'welcome' END, g.reserved
FROM vaults_grant g
JOIN vaults_vault v ON v.id = g.vault_id
JOIN accounts_device d ON d.id = g.device_id
WHERE g.vault_id = %s AND g.device_id = %s

-- name: make_live
-- Nothing happens where the upload was given up meanwhile.
UPDATE vaults_pack SET state = 'live', received_at = %s WHERE id = %s AND state = 'incoming'

-- name: retire_quarantined
-- The same bytes came again: the damaged row gives way.
UPDATE vaults_pack SET state = 'deleting' WHERE vault_id = %s AND ref = %s AND state = 'quarantined'

-- name: meter_vault
UPDATE vaults_vault SET used = used + %s WHERE id = %s

-- name: meter_grant
UPDATE vaults_grant SET pending = pending + %s, reserved = reserved - %s
WHERE vault_id = %s AND device_id = %s

-- name: keep_session
UPDATE vaults_session SET alive_at = %s WHERE id = %s

-- name: drop_incoming
DELETE FROM vaults_pack WHERE id = %s AND state = 'incoming'
