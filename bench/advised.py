# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `sockbpf advise` says of this host."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from sockbpf.cli import main


def advised(config: Path, since: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the advice for each service, and the rules that are proposed."""
    services = json.loads(_said(config, since, "--json"))["services"]
    return services, yaml.safe_load(_said(config, since, "--write"))["rules"]


def _said(config: Path, since: str, form: str) -> str:
    said = StringIO()
    with redirect_stdout(said):
        assert main(["advise", "-c", str(config), "--since", since, form]) == 0
    return said.getvalue()
