"""`python -m sockbpf`."""

from sockbpf.cli import main

raise SystemExit(main())
