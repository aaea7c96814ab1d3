"""The recovery kit as a page to print: self-contained HTML with a QR code, nothing loaded from anywhere."""

from __future__ import annotations

import html
import io
import os
import tempfile
from datetime import UTC, datetime
from errno import EEXIST, EISDIR
from pathlib import Path

from muniment.client.home.places import write_private
from muniment.crypto.codes import RecoveryKit
from muniment.model.errors import UsageError

_STYLE = """
:root { color-scheme: light dark; --paper: #faf8f3; --sheet: #ffffff; --sunk: #f1ede3; --line: #ddd6c6;
  --ink: #1b2230; --second: #505a6b; --seal: #8c2332 }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #12161d; --sheet: #1a202a; --sunk: #0e1218;
  --line: #2c3542; --ink: #ecebe6; --second: #b4bac4; --seal: #e08a93 } }
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
/* A scanner needs dark on light, in the dark too. */
.qr { width: 220px; background: #ffffff; border-radius: 4px }
.qr svg { width: 220px; height: 220px; display: block }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 16px; margin: 8px 0 }
dt { color: var(--second) } dd { margin: 0; overflow-wrap: anywhere }
code { font: 14px ui-monospace, monospace; background: var(--sunk); padding: 1px 4px; border-radius: 4px;
  white-space: nowrap }
dd code { white-space: normal }
.warning { border-left: 4px solid var(--seal); padding-left: 16px }
.by-hand { border-bottom: 1px solid var(--ink); display: inline-block; width: 240px; max-width: 100% }
@media screen and (max-width: 640px) { main { padding: 24px; border-radius: 0 }
  .kit, dl { grid-template-columns: minmax(0, 1fr) } dd { margin-bottom: 8px }
  code { white-space: normal; overflow-wrap: anywhere } }
@media print { body { background: none; font-size: 14px; line-height: 1.4 } code { font-size: 12px }
  main { border: 0; margin: 0; padding: 0; max-width: none } h2 { margin-top: 20px } .kit { margin: 16px 0 }
  @page { margin: 16mm } .kit, h2 { break-inside: avoid } h2 { break-after: avoid } }
"""


def refuse_unwritable(path: Path) -> None:
    """UsageError where no page could be written: asked before a kit is made that nobody would see.

    Nothing is replaced: what has that name may be the only kit of another vault.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        if os.path.lexists(path):
            raise FileExistsError(EEXIST, os.strerror(EEXIST))
        path.absolute().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise UsageError(
            f"the kit cannot be written to {path}: {error.strerror or error}",
            advice="Name another file; nothing was made.",
        ) from None


def write_kit_page(path: Path, kit: RecoveryKit, *, made_at: float) -> Path | None:
    """Write the page so that only its owner can read the file; None where that failed after all.

    No error: the kit exists by now, and is to be shown whatever became of its page.
    """
    try:
        write_private(path.absolute(), kit_page(kit, made_at=made_at).encode())
    except OSError:
        return None
    return path


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
<li>On any Linux machine with Python 3.11 or newer: <code>python3 -m venv m</code>, then
<code>. m/bin/activate</code>, then <code>pip install muniment</code></li>
<li><code>export MUNIMENT_RECOVERY_KIT='…'</code> with the code above. Spaces, hyphens and
capitals do not matter; a mistyped letter is noticed.</li>
<li><code>muniment snapshots</code> shows what there is.</li>
<li><code>muniment restore latest --target DIRECTORY</code>, or an id in place of
<code>latest</code>: one snapshot is one set of one machine.</li>
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
made with <code>muniment export</code> can. Nobody can make another from outside: without passphrase, kit or a
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
