"""The kernel side as Python sees it: compile and load with BCC, attach, read events, look into the tables.

This is the only room that knows BCC.
"""

from __future__ import annotations

import ctypes
import logging
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sockbpf.errors import UnsupportedError
from sockbpf.event import Direction, Event, decode
from sockbpf.kernel.hooks import KPROBES, SEEN, TRACEPOINTS, Candidate, Hook, Kind
from sockbpf.kernel.source import SOURCE, symbol_address, type_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sockbpf.counters import Counters

log = logging.getLogger(__name__)

MISSING_BCC = (
    "BCC's Python module is missing: apt-get install python3-bpfcc, and a virtual environment "
    "made from /usr/bin/python3 with --system-site-packages (make setup does both)"
)


@dataclass(frozen=True, slots=True)
class Sight:
    """How one thing is seen on this kernel: by the hooks of `candidate`, or not at all if it is None."""

    thing: str
    candidate: Candidate | None
    refused: tuple[str, ...]
    """The hooks tried before, each with the reason."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the kernel side counts, since load: `struct tally` of bpf/monitor.c."""

    opened: int
    closed: int
    lost: int
    full: int
    own: int


@contextmanager
def _captured_stderr() -> Iterator[list[str]]:
    """Catch what BCC's C++ half writes to file descriptor 2; the lines are there when the block is left."""
    lines: list[str] = []
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            sink.seek(0)
            lines += sink.read().decode(errors="replace").splitlines()


class Probes:
    """The loaded programs and their tables. Not safe from several threads."""

    def __init__(
        self, *, kinds: frozenset[Kind], types: str, perf_pages: int, max_episodes: int, counters: Counters
    ) -> None:
        """Compile the programs of these kinds; nothing is attached yet.

        Raise UnsupportedError when BCC, the kernel's types or the right to load are missing.
        """
        try:
            import bcc
        except ImportError:
            raise UnsupportedError(MISSING_BCC) from None
        self._counters = counters
        self._kinds = kinds
        self._symbols = {c.symbol: symbol_address(c.symbol) for row in SEEN.values() for c in row if c.symbol}
        self.types, layout = type_source(types)
        flags = [
            f"-I{SOURCE}",
            f"-DMAX_EPISODES={max_episodes}",
            *(["-DWITH_TRACEPOINTS"] if kinds & TRACEPOINTS else []),
            *(["-DWITH_KPROBES"] if kinds & KPROBES else []),
            *layout,
            *(f"-DSYM_{name}={address:#x}ULL" for name, address in self._symbols.items()),
        ]
        with _captured_stderr() as said:
            try:
                self._bpf: Any = bcc.BPF(src_file=str(SOURCE / "monitor.c"), cflags=flags)
            except Exception as fault:  # noqa: BLE001, BCC raises nothing narrower
                failure = str(fault)
            else:
                failure = ""
        if failure:
            raise UnsupportedError(f"BCC cannot compile the probes: {failure}\n" + "\n".join(said[-20:]))
        self._attached: set[Hook] = set()
        self._demanded: set[Hook] = set()
        self._raw: list[bytes] = []
        self._settings = self._bpf["settings"]
        self._episodes = self._bpf["episodes"]
        self._reaped = 0
        self._bpf["events"].open_perf_buffer(self._take, page_cnt=perf_pages, lost_cb=self._lose)
        self._lib = bcc.lib
        self._readers = [ctypes.c_void_p(reader) for reader in self._bpf.perf_buffers.values()]

    def _take(self, _cpu: int, data: int, size: int) -> None:
        self._raw.append(ctypes.string_at(data, size))

    def _lose(self, count: int) -> None:
        self._counters.add("lost_ring", count)

    # attaching

    def attach(self) -> list[Sight]:
        """Attach, for each thing to be seen, the first candidate that really attaches."""
        return [self._see(thing, row) for thing, row in SEEN.items()]

    def _see(self, thing: str, row: tuple[Candidate, ...]) -> Sight:
        refused: list[str] = []
        for candidate in row:
            if not {hook.kind for hook in candidate.hooks} <= self._kinds:
                continue
            if candidate.symbol and not self._symbols[candidate.symbol]:
                refused.append(f"address of {candidate.symbol} hidden: sysctl kernel.kptr_restrict=1")
                continue
            fault = self._attach_all(candidate.hooks)
            if not fault:
                if candidate.on_demand:
                    self._demanded.update(candidate.hooks)
                    self._detach_all(candidate.hooks)
                return Sight(thing, candidate, tuple(refused))
            refused.append(fault)
        return Sight(thing, None, tuple(refused))

    def _attach_all(self, hooks: tuple[Hook, ...]) -> str:
        """Attach all or none; return why not, or nothing."""
        done: list[Hook] = []
        for hook in hooks:
            if hook in self._attached:
                continue
            with _captured_stderr() as said:
                try:
                    self._attach(hook)
                except Exception as fault:  # noqa: BLE001, BCC raises nothing narrower
                    failure = str(fault)
                else:
                    failure = ""
            if failure:
                log.debug("%s: %s", hook, "; ".join([failure, *said]))
                self._detach_all(tuple(done))
                return f"{hook}: {failure}"
            self._attached.add(hook)
            done.append(hook)
        return ""

    def _attach(self, hook: Hook) -> None:
        if hook.kind is Kind.TRACEPOINT:
            self._bpf.attach_raw_tracepoint(hook.target.encode(), hook.program.encode())
        elif hook.kind is Kind.KPROBE:
            self._bpf.attach_kprobe(event=hook.target.encode(), fn_name=hook.program.encode())
        else:
            self._bpf.attach_kretprobe(event=hook.target.encode(), fn_name=hook.program.encode())

    def _detach_all(self, hooks: tuple[Hook, ...]) -> None:
        for hook in hooks:
            if hook.kind is Kind.TRACEPOINT:
                self._bpf.detach_raw_tracepoint(hook.target.encode())
            elif hook.kind is Kind.KPROBE:
                self._bpf.detach_kprobe(event=hook.target.encode())
            else:
                self._bpf.detach_kretprobe(event=hook.target.encode())
            self._attached.discard(hook)

    def demand(self, *, wanted: bool) -> None:
        """Attach or detach the hot hooks that only an open UDP send episode needs."""
        hooks = tuple(hook for hook in self._demanded if (hook in self._attached) != wanted)
        if not hooks:
            return
        if wanted:
            self._attach_all(hooks)
        else:
            self._detach_all(hooks)

    # settings

    def set_thresholds(self, *, send: int, recv: int, clear_ratio: float, own_pid: int) -> None:
        """Set the thresholds, bytes, that the kernel side compares with, at any time.

        The sockets of process `own_pid` are not reported; 0 is no process.
        """
        entry = self._settings.Leaf()
        entry.threshold = (send, recv)
        entry.clear = (int(send * clear_ratio), int(recv * clear_ratio))
        entry.reaped = self._reaped
        entry.own_pid = own_pid
        self._settings[ctypes.c_int(0)] = entry

    # events

    def fds(self) -> list[int]:
        """Return the descriptors that become readable when there are events."""
        return [self._lib.perf_reader_fd(reader) for reader in self._readers]

    def read(self) -> list[Event]:
        """Return the events that have come, without waiting."""
        for reader in self._readers:
            # Not perf_buffer_poll: whoever waits on `fds` has used up the readiness that it would wait for
            # (kernel/events/core.c: perf_poll), and perf_buffer_consume came only with BCC 0.24.
            self._lib.perf_reader_event_read(reader)
        taken, self._raw = self._raw, []
        self._counters.add("events", len(taken))
        events = []
        for raw in taken:
            try:
                events.append(decode(raw))
            except ValueError:
                self._counters.add("undecodable")
                log.exception("an event of %d bytes makes no sense: %s", len(raw), raw.hex())
        return events

    # tables

    def tally(self) -> Tally:
        entry = self._bpf["tally"][ctypes.c_int(0)]
        return Tally(entry.opened, entry.closed, entry.lost, entry.full, entry.own)

    def open_count(self) -> int:
        """Return how many episodes the kernel side holds open."""
        tally = self.tally()
        return (tally.opened - tally.closed - self._reaped) & 0xFFFFFFFF

    def open_episodes(self) -> list[Event]:
        """Return the open episodes with their latest size and peak."""
        if not self.open_count():
            return []
        return [decode(bytes(episode)) for _, episode in self._episodes.items()]

    def reap(self, address: int, direction: Direction) -> bool:
        """Delete an episode that the hooks left open; False if the kernel side was first."""
        key = self._episodes.Key(address, direction)
        try:
            del self._episodes[key]
        except KeyError:
            return False
        self._reaped = (self._reaped + 1) & 0xFFFFFFFF
        entry = self._settings[ctypes.c_int(0)]
        entry.reaped = self._reaped
        self._settings[ctypes.c_int(0)] = entry
        return True

    def own_inodes(self) -> frozenset[int]:
        """Return the inodes of the monitor's own sockets that ever sent something, closed ones too."""
        return frozenset(inode.value for _, inode in self._bpf["own"].items())

    def forget_own(self, inodes: set[int]) -> None:
        """Drop the marks of the monitor's own sockets except those of these inodes."""
        own = self._bpf["own"]
        for address, inode in own.items():
            if inode.value not in inodes:
                del own[address]

    def close(self) -> None:
        """Detach and unload everything."""
        self._bpf.cleanup()
