# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`python -m sockbpf`."""

from sockbpf.cli import main

raise SystemExit(main())
