"""Django's commands on our settings, and the statement's own: `python -m muniment.server.manage check`."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "muniment.server.settings")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
