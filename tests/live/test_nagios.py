# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""check_sockbpf in Debian's NRPE and Nagios: OK, CRITICAL while a socket hangs, OK again, and without a monitor."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.live.monitoring import StartMonitor, thresholds
from tests.live.nagios import CHECK_NRPE, start_nagios, start_nrpe
from tests.live.ours import only_ours
from tests.live.sockets import drain, port, tcp_pair

UNREAD = 2003
CHECK = Path(sys.executable).with_name("check_sockbpf")
OK = "SOCKBPF OK - 0 over, 0 stalled"
CALM = "over=0;0;;0 stalled=0;;0;0 oldest=0s;;;0 owed=0;;;0 lost=0c;;;0"


def version(*command: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return next(line for line in (said.stdout + said.stderr).splitlines() if re.search(r"\d\.\d", line))


def test_nagios_and_nrpe(start_monitor: StartMonitor, stack: ExitStack) -> None:
    print(version("/usr/sbin/nagios4", "-V"), f"NRPE, {version(CHECK_NRPE, '-V')}", sep="\n")
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="sb-")))
    folder.chmod(0o755)
    client, server = tcp_pair(stack)
    monitor = start_monitor(
        thresholds=thresholds(2**30),
        stalled={"after": "1500ms", "above": "1KiB"},
        status={"socket": str(folder / "m.sock")},
        rules=only_ours(port(server), type="RECV"),
    )
    sudo = f"sudo -n {CHECK}"
    nrpe = start_nrpe(
        folder / "nrpe", stack, f"nagios ALL=(root) NOPASSWD: {CHECK}",
        sockbpf=f"{sudo} --socket {folder}/m.sock -w over=0 -c stalled=0 -w lost=~: --unseen ok",
        rates=f"{CHECK} --rates", mistyped=f"{sudo} -w over", without_sudo=f"{CHECK} --socket {folder}/m.sock",
    )  # fmt: skip
    code, said = nrpe.check("sockbpf")
    assert (code, said.split(" | ")[0]) == (0, OK)
    assert nrpe.check("rates")[1].startswith("SOCKBPF OK - UdpRcvbufErrors ")
    code, said = nrpe.check("mistyped")
    assert (code, said) == (
        3,
        "SOCKBPF UNKNOWN - 'over' is no range, expected one such as 10, 10:, ~:10, 10:20 or @10:20\n",
    )
    assert nrpe.check("without_sudo") == (
        3,
        f"SOCKBPF UNKNOWN - needs root, to connect to {folder}/m.sock. Remedy: sudo\n",
    )

    place = folder / "nagios"
    place.mkdir()
    nagios = start_nagios(place, stack, nrpe, "sockbpf")
    first = nagios.until(0)
    assert first.output == OK
    client.sendall(bytes(UNREAD))
    hung = nagios.until(2)
    print(hung.output)
    end = f"tcp RECV 127.0.0.1:{port(server)} to 127.0.0.1:{port(client)} stalled {UNREAD} for "
    comm = Path("/proc/self/comm").read_text().strip()
    assert hung.output.startswith(f"SOCKBPF CRITICAL - 1 stalled, 0 over, worst: {comm} ")
    assert end in hung.output
    assert "stalled=1;;0;0 " in hung.performance
    drain(server, UNREAD)
    assert nagios.until(0).output == OK
    monitor.process.send_signal(signal.SIGKILL)
    gone = nagios.until(2)
    assert gone.output.startswith(
        f"SOCKBPF CRITICAL - no monitor answers at {folder}/m.sock: Connection refused"
    )
    log = (place / "nagios.log").read_text()
    states = re.findall(r"SERVICE ALERT: here;queues;(\w+);HARD", log)
    assert states[:3] == ["CRITICAL", "OK", "CRITICAL"]


def test_queues_without_a_monitor(stack: ExitStack) -> None:
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    asked = [str(CHECK), "--tcp", "--port", str(port(server))]
    full = subprocess.run([*asked, "-c", "recv=2002"], capture_output=True, text=True, check=False)
    assert full.returncode == 2, full.stdout + full.stderr
    assert full.stdout.startswith(f"SOCKBPF CRITICAL - fullest recv {UNREAD}, fullest send 0, ")
    assert f"| recv={UNREAD}B;;2002;0 send=0B;;;0 accept=0;;;0" in full.stdout
    drain(server, UNREAD)
    calm = subprocess.run([*asked, "-c", "recv=2002"], capture_output=True, text=True, check=False)
    assert calm.returncode == 0, calm.stdout + calm.stderr
    wrong = subprocess.run([*asked, "--port", "x"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout[:17], wrong.stderr) == (3, "SOCKBPF UNKNOWN -", "")
