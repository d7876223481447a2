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
from sockbpf.kernel.choice import ADDRESSES, Sight
from sockbpf.kernel.hooks import KPROBES, Hook, Kind
from sockbpf.kernel.source import SOURCE, type_source

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from sockbpf.counters import Counters

log = logging.getLogger(__name__)

MISSING_BCC = (
    "BCC's Python module is missing: apt-get install python3-bpfcc, and a virtual environment "
    "made from /usr/bin/python3 with --system-site-packages (make setup does both)"
)


@dataclass(frozen=True, slots=True)
class Levels:
    """What the kernel side compares with; the sockets of process `own_pid` are not reported, 0 is no process."""

    send: int
    recv: int
    """Bytes: over is greater than this."""

    clear_ratio: float
    own_pid: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """What the kernel side counts, since load: `struct tally` of bpf/monitor.c."""

    opened: int
    closed: int
    lost: int
    full: int
    own: int
    unreturned: int


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
        self,
        sights: Collection[Sight],
        levels: Levels,
        *,
        symbols: Mapping[str, int],
        types: str,
        perf_pages: int,
        max_episodes: int,
        counters: Counters,
    ) -> None:
        """Compile the programs that these sights need; nothing is attached yet.

        Raise UnsupportedError when BCC, the kernel's types or the right to load are missing.
        """
        try:
            import bcc
        except ImportError:
            raise UnsupportedError(MISSING_BCC) from None
        self.sights = sights
        self._counters = counters
        self.types, layout = type_source(types)
        candidates = [sight.candidate for sight in sights if sight.candidate]
        hooks = {hook for candidate in candidates for hook in candidate.hooks}
        flags = [
            f"-I{SOURCE}",
            f"-DMAX_EPISODES={max_episodes}",
            *({"-DWITH_KPROBES" if hook.kind in KPROBES else "-DWITH_TRACEPOINTS" for hook in hooks}),
            *(f"-DWANT_{program}=1" for program in sorted({hook.program for hook in hooks})),
            *layout,
            *(f"-DSYM_{name}={symbols.get(name, 0):#x}ULL" for name in ADDRESSES),
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
        self.set_levels(levels)
        try:
            self._bpf["events"].open_perf_buffer(self._take, page_cnt=perf_pages, lost_cb=self._lose)
        except Exception as fault:  # noqa: BLE001, BCC raises nothing narrower
            raise UnsupportedError(
                f"no event buffers of {perf_pages} pages for each CPU: {fault}. "
                "Remedy: more locked memory (ulimit -l unlimited), or a smaller kernel > perf_pages"
            ) from None
        self._lib = bcc.lib
        self._readers = [ctypes.c_void_p(reader) for reader in self._bpf.perf_buffers.values()]

    def _take(self, _cpu: int, data: int, size: int) -> None:
        self._raw.append(ctypes.string_at(data, size))

    def _lose(self, count: int) -> None:
        self._counters.add("lost_ring", count)

    # attaching

    def attach(self) -> dict[Hook, str]:
        """Attach all hooks, those on demand only to see that they can be; return those that were refused, and why."""
        refused: dict[Hook, str] = {}
        for sight in self.sights:
            candidate = sight.candidate
            if candidate is None:
                continue
            refused |= self._attach_all(candidate.hooks)
            if candidate.on_demand:
                self._demanded.update(candidate.hooks)
                self._detach_all(candidate.hooks)
        return refused

    def _attach_all(self, hooks: tuple[Hook, ...]) -> dict[Hook, str]:
        """Attach those that are not yet; return why one could not be."""
        refused = {}
        for hook in hooks:
            if hook in self._attached:
                continue
            with _captured_stderr() as said:
                try:
                    self._attach(hook)
                except Exception as fault:  # noqa: BLE001, BCC raises nothing narrower
                    refused[hook] = f"{hook}: {fault}"
                else:
                    self._attached.add(hook)
            if hook in refused:
                log.debug("%s", "; ".join([refused[hook], *said]))
        return refused

    def _attach(self, hook: Hook) -> None:
        if hook.kind is Kind.TRACEPOINT:
            self._bpf.attach_raw_tracepoint(hook.target.encode(), hook.program.encode())
        elif hook.kind is Kind.KPROBE:
            self._bpf.attach_kprobe(event=hook.target.encode(), fn_name=hook.program.encode())
        else:
            self._bpf.attach_kretprobe(event=hook.target.encode(), fn_name=hook.program.encode())

    def _detach_all(self, hooks: tuple[Hook, ...]) -> None:
        for hook in self._attached.intersection(hooks):
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

    def set_levels(self, levels: Levels) -> None:
        """Set what the kernel side compares with, at any time."""
        entry = self._settings.Leaf()
        entry.threshold = (levels.send, levels.recv)
        entry.clear = (int(levels.send * levels.clear_ratio), int(levels.recv * levels.clear_ratio))
        entry.reaped = self._reaped
        entry.own_pid = levels.own_pid
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
        return Tally(entry.opened, entry.closed, entry.lost, entry.full, entry.own, entry.unreturned)

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
        """Detach and unload everything; what cannot be detached goes with the process."""
        try:
            self._bpf.cleanup()
        except Exception as fault:  # noqa: BLE001, BCC raises nothing narrower
            log.warning("not detached: %s", fault)
