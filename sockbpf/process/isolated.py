# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Runs a module of this package as a process that takes no code but ours: `python -I isolated.py MODULE …`.

`python -m` looks for modules in the folder it is started in, and PYTHONPATH can name that folder too; whoever can
write there would be root. With -I Python looks at neither, and not for this user's own packages either. This package
itself is then taken from the folder that this file lies in, wherever that is: the child runs its parent's code.
"""

from __future__ import annotations

import runpy
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs this module of ours; `arguments` are its."""
    return [sys.executable, "-I", str(Path(__file__).absolute()), module, *arguments]


def _load_package() -> None:
    spec = spec_from_file_location(
        "sockbpf", PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
    )
    assert spec and spec.loader  # noqa: S101, PT018  it is a file of Python
    package = sys.modules["sockbpf"] = module_from_spec(spec)
    spec.loader.exec_module(package)


if __name__ == "__main__":
    _load_package()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
