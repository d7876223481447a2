# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Debian's NRPE and Nagios, as processes of their own on loopback, with their files in one folder."""

from __future__ import annotations

import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import chown

from tests.live.ports import free_port
from tests.live.waiting import until

CHECK_NRPE = "/usr/lib/nagios/plugins/check_nrpe"

NRPE = """\
server_address=127.0.0.1
server_port={port}
pid_file={folder}/nrpe.pid
log_file={folder}/nrpe.log
nrpe_user=nagios
nrpe_group=nagios
allowed_hosts=127.0.0.1
command_timeout=20
{commands}
"""

MAIN = """\
cfg_file={folder}/objects.cfg
log_file={folder}/nagios.log
status_file={folder}/status.dat
object_cache_file={folder}/objects.cache
precached_object_file={folder}/objects.precache
state_retention_file={folder}/retention.dat
command_file={folder}/nagios.cmd
query_socket={folder}/nagios.qh
lock_file={folder}/nagios.lock
temp_file={folder}/nagios.tmp
temp_path={folder}
check_result_path={folder}/results
nagios_user=nagios
nagios_group=nagios
interval_length=1
status_update_interval=1
retain_state_information=0
enable_notifications=0
check_external_commands=0
check_for_updates=0
illegal_macro_output_chars=`~$&|'"<>
"""

OBJECTS = """\
define command {{
  command_name check_nrpe
  command_line {check_nrpe} -2 -H 127.0.0.1 -p {port} -t 20 -c $ARG1$
}}
define timeperiod {{
  timeperiod_name always
  alias always
  sunday 00:00-24:00
  monday 00:00-24:00
  tuesday 00:00-24:00
  wednesday 00:00-24:00
  thursday 00:00-24:00
  friday 00:00-24:00
  saturday 00:00-24:00
}}
define contact {{
  contact_name nobody
  host_notifications_enabled 0
  service_notifications_enabled 0
  host_notification_period always
  service_notification_period always
  host_notification_options n
  service_notification_options n
  host_notification_commands check_nrpe
  service_notification_commands check_nrpe
}}
define host {{
  host_name here
  address 127.0.0.1
  max_check_attempts 1
  check_period always
  contacts nobody
}}
define service {{
  host_name here
  service_description queues
  check_command check_nrpe!{command}
  max_check_attempts 1
  check_interval 1
  retry_interval 1
  check_period always
  contacts nobody
}}
"""


@dataclass(frozen=True)
class Nrpe:
    """A running NRPE."""

    port: int
    log: Path

    def check(self, command: str) -> tuple[int, str]:
        """Have it run one of its commands, as Nagios would; return the exit code and what was said."""
        asked = [CHECK_NRPE, "-2", "-H", "127.0.0.1", "-p", str(self.port), "-t", "20", "-c", command]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


def start_nrpe(folder: Path, stack: ExitStack, sudoers: str, **commands: str) -> Nrpe:
    """Start one that knows these commands; to it /etc/sudoers has this line alone, to nobody else."""
    folder.mkdir()
    chown(folder, "nagios", "nagios")
    made = Nrpe(free_port(), folder / "nrpe.log")
    allowed = folder / "sudoers"
    allowed.write_text(f"{sudoers}\n")
    allowed.chmod(0o440)
    made.log.touch()
    chown(made.log, "nagios", "nagios")
    lines = "\n".join(f"command[{name}]={line}" for name, line in commands.items())
    config = folder / "nrpe.cfg"
    config.write_text(NRPE.format(port=made.port, folder=folder, commands=lines))
    inside = f'mount --bind {allowed} /etc/sudoers && exec "$@"'
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", inside, "sh", "/usr/sbin/nrpe", "-c", str(config), "-f"]
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    until(lambda: "NRPE v" in made.check("_NRPE_CHECK")[1], made.log.read_text, 20)
    return made


@dataclass(frozen=True)
class Service:
    """What Nagios knows of its one service."""

    state: int
    output: str
    performance: str


@dataclass(frozen=True)
class Nagios:
    """A running Nagios that checks one service each second."""

    folder: Path

    def service(self) -> Service | None:
        """Return the service as status.dat has it now; None before its first check."""
        text = (self.folder / "status.dat").read_text() if (self.folder / "status.dat").exists() else ""
        found = re.search(r"servicestatus \{(.*?)\n\s*\}", text, re.DOTALL)
        if not found:
            return None
        values = dict(re.findall(r"^\s*(\w+)=(.*)$", found[1], re.MULTILINE))
        if values["has_been_checked"] != "1":
            return None
        return Service(int(values["current_state"]), values["plugin_output"], values["performance_data"])

    def until(self, state: int) -> Service:
        """Wait for this state of the service."""

        def reached() -> Service | None:
            now = self.service()
            return now if now and now.state == state else None

        def said() -> str:
            return f"{self.service()}\n{(self.folder / 'nagios.log').read_text()}"

        return until(reached, said)  # type: ignore[no-any-return]


def start_nagios(folder: Path, stack: ExitStack, nrpe: Nrpe, command: str) -> Nagios:
    """Start one that has NRPE run this command."""
    (folder / "results").mkdir()
    (folder / "nagios.cfg").write_text(MAIN.format(folder=folder))
    (folder / "objects.cfg").write_text(
        OBJECTS.format(check_nrpe=CHECK_NRPE, port=nrpe.port, command=command)
    )
    for each in (folder, *folder.iterdir()):
        chown(each, "nagios", "nagios")
    with (folder / "out").open("wb") as sink:
        process = subprocess.Popen(
            ["/usr/sbin/nagios4", str(folder / "nagios.cfg")],
            stdout=sink,
            stderr=sink,
            stdin=subprocess.DEVNULL,
        )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return Nagios(folder)
