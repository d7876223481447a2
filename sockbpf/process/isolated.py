# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Runs a module of this package as a process that takes no code from elsewhere: `python -I isolated.py MODULE …`.

`python -m` looks for modules in the folder in which it is started, and PYTHONPATH can name folders too: a user who
can write there would have code run as root. With -I Python uses neither, nor the user's own packages. This package
itself is taken from the folder of this file, wherever that is: the child runs its parent's code.
"""

from __future__ import annotations

import runpy
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs this module of the package with these arguments."""
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
