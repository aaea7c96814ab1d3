"""The recovery kit as a page to print: self-contained HTML with a QR code, nothing loaded from anywhere."""

from __future__ import annotations

import html
import io
from datetime import UTC, datetime
from pathlib import Path

from muniment.client.home import write_private
from muniment.crypto.codes import RecoveryKit

_STYLE = """
:root { --paper: #faf8f3; --sheet: #ffffff; --line: #ddd6c6; --ink: #1b2230; --second: #505a6b; --seal:
#8c2332 }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 "Atkinson Hyperlegible Next",
  system-ui, sans-serif }
main { max-width: 720px; margin: 32px auto; padding: 48px; background: var(--sheet);
  border: 1px solid var(--line); border-radius: 14px }
h1 { font: 600 32px/1.2 "Source Serif 4", Georgia, serif; margin: 0 0 4px }
h2 { font: 600 20px/1.3 "Source Serif 4", Georgia, serif; margin: 32px 0 8px }
p, ol { margin: 8px 0; max-width: 68ch }
.kit { display: grid; grid-template-columns: 1fr 220px; gap: 32px; align-items: center; margin: 24px 0;
  padding: 24px; border: 2px solid var(--ink); border-radius: 8px }
.code { font: 600 15px/1.9 ui-monospace, monospace; word-spacing: 6px; overflow-wrap: anywhere }
.qr svg { width: 220px; height: 220px; display: block }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; margin: 8px 0 }
dt { color: var(--second) } dd { margin: 0; overflow-wrap: anywhere }
code { font-family: ui-monospace, monospace; background: #f1ede3; padding: 1px 4px; border-radius: 4px }
.warning { border-left: 4px solid var(--seal); padding-left: 16px }
.by-hand { border-bottom: 1px solid var(--ink); display: inline-block; min-width: 240px }
@media (max-width: 640px) { main { padding: 24px } .kit { grid-template-columns: 1fr } }
@media print { body { background: none } main { border: 0; margin: 0; padding: 0; max-width: none }
  @page { margin: 18mm } .kit, h2 { break-inside: avoid } h2 { break-after: avoid } }
"""


def write_kit_page(path: Path, kit: RecoveryKit, *, made_at: float) -> None:
    """Write the page so that only its owner can read the file."""
    write_private(path.absolute(), kit_page(kit, made_at=made_at).encode())


def kit_page(kit: RecoveryKit, *, made_at: float) -> str:
    """The page as HTML. It says what the kit is, what to do with it, and what it cannot do."""
    text = kit.text()
    groups = " ".join(text.split("-"))
    date = datetime.fromtimestamp(made_at, tz=UTC).strftime("%Y-%m-%d")
    server = html.escape(kit.server)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>Muniment recovery kit {kit.vault.hex[:8]}</title>
<style>{_STYLE}</style>
<main>
<h1>Recovery kit</h1>
<p>With this sheet alone, everything in the vault can be restored on any machine.</p>
<div class="kit">
<div class="code" id="kit" data-kit="{text}">{groups}</div>
<div class="qr" role="img" aria-label="The same code, to scan">{_qr(text)}</div>
</div>
<p class="warning"><strong>Whoever has this sheet can read the vault.</strong> Keep it where you keep a deed
or a passport: not in the machine, not beside it, not in a photo album in the cloud.</p>
<h2>To restore</h2>
<ol>
<li>On any Linux machine with Python 3.11 or newer: <code>pip install muniment</code></li>
<li><code>export MUNIMENT_RECOVERY_KIT='…'</code> with the code above. Spaces, hyphens and
capitals do not matter; a mistyped letter is noticed.</li>
<li><code>muniment snapshots</code> shows what there is.</li>
<li><code>muniment restore latest --target DIRECTORY</code></li>
</ol>
<p>If the server has moved: add <code>--server ADDRESS</code>. Each use of this kit is an event that the
owner of the account sees.</p>
<h2>What it is for</h2>
<dl>
<dt>Server</dt><dd>{server}</dd>
<dt>Vault</dt><dd><code>{kit.vault.hex}</code></dd>
<dt>Made</dt><dd>{date}</dd>
<dt>Newest snapshot</dt><dd><span class="by-hand">&nbsp;</span> (write date and code here now and then)</dd>
</dl>
<h2>What it cannot do</h2>
<p>It cannot change or delete anything in the vault. It cannot help if the server is gone: then only a copy
made with <code>muniment export</code> can. Nobody can replace it from outside: without passphrase, kit and a
connected machine, the vault stays shut, also for its operator. <code>muniment keys test-kit</code> proves
that it works.</p>
</main>
</html>
"""


def _qr(text: str) -> str:
    # Loaded here: only a new kit needs it.
    import segno

    # Upper-case letters, digits and hyphens are QR's alphanumeric mode, so the picture stays coarse.
    picture = io.BytesIO()
    segno.make(text, error="m", micro=False).save(
        picture, kind="svg", xmldecl=False, svgns=True, border=2, scale=4, omitsize=True
    )
    return picture.getvalue().decode("ascii").strip()
