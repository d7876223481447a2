# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A destination that is added as CONTRIBUTING says takes alerts, in three files: its own, its settings, its row."""

from __future__ import annotations

import filecmp
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEW = "sockbpf/delivery/destinations/spool.py"
SPOOL = '''
"""A folder that gets a file for each alert."""

from pathlib import Path

from sockbpf.delivery.transport import TransportError
from sockbpf.record.text import sentence


class Spool:
    def __init__(self, *, folder):
        self._folder = Path(folder)

    def send(self, fields):
        try:
            (self._folder / f"{fields['id']}-{fields['seq']}").write_text(sentence(fields))
        except OSError as error:
            raise TransportError(error.strerror) from None

    def close(self):
        pass
'''
SYSLOG = "from sockbpf.delivery.destinations.syslog import Syslog\n"
EDITS = {
    "sockbpf/settings/destinations.py": [
        (
            "\n\nAnyDestination = HttpSettings |",
            '''

class SpoolSettings(DestinationSettings):
    """A folder that gets a file for each alert."""

    type: Literal["spool"] = "spool"
    name: Name = "spool"
    folder: Annotated[Path, PlainValidator(absolute_path)] = Field(description="the absolute path of a folder")


AnyDestination = SpoolSettings | HttpSettings |''',
        ),
        ('    "http": HttpSettings,\n', '    "http": HttpSettings,\n    "spool": SpoolSettings,\n'),
    ],
    "sockbpf/delivery/destinations/table.py": [
        (
            SYSLOG,
            f"from sockbpf.delivery.destinations.spool import Spool\n{SYSLOG}",
        ),
        (
            '    "http": HttpGet,\n',
            '    "http": HttpGet,\n    "spool": lambda its: Spool(folder=its.folder),\n',
        ),
    ],
}
"""File -> what stands in it, and what is to stand there."""

PROGRAM = """
import sys
from pathlib import Path
import sockbpf
from sockbpf.monitor.rehearsal import maker_of, rehearse
from sockbpf.settings.config import load

print(sockbpf.__file__)
config = load(Path(sys.argv[1]))
rehearse(config)
(spool,) = [maker_of(its)() for its in config.destinations if its.type == "spool"]
spool.send({
    "timestamp": "1795343123.5", "event": "exceeded", "protocol": "tcp", "local_ip": "192.0.2.1", "local_port": "443",
    "type": "RECV", "size": "2003", "threshold": "1009", "id": "0a", "seq": "7", "host": "web1",
})
"""


def test_a_destination_takes_three_files_and_all_are_named(tmp_path: Path) -> None:
    tree, folder, config = tmp_path / "tree", tmp_path / "spool", tmp_path / "config.yaml"
    shutil.copytree(ROOT / "sockbpf", tree / "sockbpf", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / NEW).write_text(SPOOL)
    for path, edits in EDITS.items():
        text = (tree / path).read_text()
        for old, new in edits:
            assert text.count(old) == 1, f"{path}: the place to edit has moved: {old}"
            text = text.replace(old, new)
        (tree / path).write_text(text)
    folder.mkdir()
    config.write_text(f"url: http://127.0.0.1:9/\ndestinations:\n  - {{type: spool, folder: {folder}}}\n")
    ran = [sys.executable, "-B", "-c", PROGRAM, str(config)]
    done = subprocess.run(ran, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tree))
    assert "192.0.2.1:443" in (folder / "0a-7").read_text()
    files = {str(path.relative_to(tree)) for path in tree.rglob("*.py")}
    changed = {
        path
        for path in files
        if not (ROOT / path).exists() or not filecmp.cmp(tree / path, ROOT / path, False)
    }
    assert changed == {NEW, *EDITS}
    said = re.search(
        r"## To add a destination\n(.*?)\n## ", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL
    )
    assert said
    for path in {f"{Path(NEW).parent}/", *EDITS}:
        assert f"`{path}`" in said[1], path
