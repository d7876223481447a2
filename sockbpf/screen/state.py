# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `sockbpf top` shows now: filter, order, groups, the chosen socket, pause; and what each key changes of it.

It draws nothing and has no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.judge.ranking import asks_whose, fits_whose
from sockbpf.judge.top_order import COLUMNS, GROUPS, OF_OWNERS, WORST, Groups, Order, group_name
from sockbpf.judge.tracks import Tracks
from sockbpf.record.moment import Wanted
from sockbpf.record.socket_row import Asked
from sockbpf.record.text import printable
from sockbpf.settings.typed_filter import MOST, Typed, typed
from sockbpf.view.top_detail import detail, help_page
from sockbpf.view.top_frame import frame, wanted
from sockbpf.view.top_groups import groups_frame

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sockbpf.judge.top_order import Group
    from sockbpf.judge.tracks import Track
    from sockbpf.record.moment import Moment
    from sockbpf.record.socket_row import SocketRow

ANY = Asked()
NAMED = 200
"""Of so many sockets, the first, it is known whose they are where nothing asks for the others."""
PAGE = 10
FAR = 1 << 20
STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -PAGE, "pagedown": PAGE, "home": -FAR, "end": FAR}
"""By how many rows a key moves."""
KEYS = "s sort  g group  / filter  p pause  Enter detail  ? help  q quit"


class State:
    """Takes looks and keys; `parts` is what is on the screen."""

    def __init__(self, text: str = "") -> None:
        self.tracks = Tracks()
        self.moment: Moment | None = None
        self.order = Order()
        self.groups = Groups()
        self.within: tuple[str, str] | None = None
        """Only sockets of this group are shown: what it is by, and its name."""
        self.is_paused = False
        self.is_typing = False
        self.page = "list"
        self.chosen: Track | None = None
        self.chosen_group: str | None = None
        self.text = ""
        self.wish = Typed()
        self._ordered: list[Track] = []
        self._shown: list[Track] | None = None
        self.type(text)

    @property
    def wanted(self) -> Wanted:
        """What the next look is to find for what is shown."""
        by = {self.groups.by, self.order.column, self.within[0] if self.within else GROUPS[0]}
        asks = bool(self.wish.words) or self.wish.asked != ANY
        asks_owners = by & OF_OWNERS or self.wish.words or asks_whose(self.wish.asked)
        return Wanted(
            is_all=asks or bool(by - {WORST, GROUPS[0]}),
            named=None if asks_owners else NAMED,
            inodes=frozenset({self.chosen.row.socket.inode} if self.chosen else ()),
        )

    def take(self, moment: Moment) -> None:
        """Show this look, unless the screen is paused."""
        if self.is_paused:
            return
        self.moment = moment
        self.tracks.take(moment)
        if self.chosen:  # what ended long ago stays chosen, as it was
            self.chosen = self.tracks.by_socket.get(self.chosen.row.socket, self.chosen)
        self._ordered = self.tracks.in_order(self.chosen.row.socket if self.chosen else None)
        self._shown = None

    def type(self, text: str) -> None:
        """Filter by this text from now on."""
        self.text, self.wish, self._shown = text, typed(text), None

    def press(self, key: str, character: str = "") -> bool:
        """Do what a key means, by its name or the character it types; return False if it means the end."""
        pressed = character if character and character.isprintable() else key
        if self.is_typing:
            self._type_key(key, character)
        elif pressed == "q":
            return False
        elif pressed in STEPS:
            self._move(STEPS[pressed])
        elif pressed == "enter":
            self._enter()
        elif pressed == "escape":
            self._back()
        else:
            self._change(pressed)
        return True

    def paste(self, text: str) -> None:
        """Add a text to the filter, if one is being typed."""
        if self.is_typing:
            self.type((self.text + " ".join("".join(filter(str.isprintable, text)).split()))[:MOST])

    def shown(self) -> list[Track]:
        """Return the sockets of the list in their order."""
        if self._shown is None:
            found = wanted(self._ordered, self._fits, self.wish.words)
            self._shown = self.order.sorted(found, self.tracks.now_s)
        return self._shown

    def parts(self, width: int, height: int) -> list[RenderableType]:
        """Return the parts of the screen, at most so many lines."""
        if self.page == "help":
            return help_page(width)[:height]
        if self.page == "detail" and self.chosen:
            return detail(self.chosen, self.tracks, width)[:height]
        if self.moment is None:
            return ["looking at the sockets …"]
        said = self._said()
        if self.groups.by != GROUPS[0]:
            groups, chosen = self._groups(), self.chosen_group
            return groups_frame(self.moment, self.tracks, groups, (width, height), said, chosen=chosen)
        shown = self.shown()
        at = next((place for place, each in enumerate(shown) if each is self.chosen), 0)
        first = max(0, at - height // 2)
        some = shown[first : first + height]
        socket = self.chosen.row.socket if self.chosen else None
        return frame(
            self.moment, self.tracks, some, (width, height), said, chosen=socket, sorted_by=self.order.column
        )

    def last_line(self) -> str:
        """Return the line of keys, or the filter that is being typed; printable."""
        return f"filter: {printable(self.text)}_" if self.is_typing else KEYS

    def _type_key(self, key: str, character: str) -> None:
        if key == "backspace":
            self.type(self.text[:-1])
        elif key == "escape":
            self.is_typing = False
            self.type("")
        elif key == "enter":
            self.is_typing = False
        elif character and character.isprintable():
            self.type((self.text + character)[:MOST])

    def _change(self, pressed: str) -> None:
        if pressed in {"s", "S", "g", "/"}:
            self.page = "list"
        if pressed in {"s", "S"}:
            step = 1 if pressed == "s" else -1
            self.order = Order(COLUMNS[(COLUMNS.index(self.order.column) + step) % len(COLUMNS)])
            self._shown = None
        elif pressed == "g":
            self.groups = Groups(GROUPS[(GROUPS.index(self.groups.by) + 1) % len(GROUPS)])
            self.within = self.chosen_group = self._shown = None
        elif pressed == "/":
            self.is_typing = True
        elif pressed in {"p", " "}:
            self.is_paused = not self.is_paused
        elif pressed == "?":
            self.page = "list" if self.page == "help" else "help"

    def _enter(self) -> None:
        """Show the sockets of the chosen group, the chosen socket in detail, or the list again."""
        if self.page != "list":
            self.page = "list"
        elif self.groups.by != GROUPS[0]:
            names = [group.name for group in self._groups()]
            if names:
                name = self.chosen_group if self.chosen_group in names else names[0]
                self.within, self.groups, self._shown = (self.groups.by, name), Groups(), None
        else:
            if self.chosen not in self.shown():
                self._move(1)
            self.page = "detail" if self.chosen else "list"

    def _back(self) -> None:
        """Go back from a page to the list, from a group to all groups; else filter no more."""
        if self.page != "list":
            self.page = "list"
        elif self.within:
            self.groups, self.within, self._shown = Groups(self.within[0]), None, None
        else:
            self.type("")

    def _move(self, steps: int) -> None:
        """Choose another row."""
        if self.page == "list" and self.groups.by != GROUPS[0]:
            names = [group.name for group in self._groups()]
            if names:
                at = names.index(self.chosen_group) if self.chosen_group in names else None
                self.chosen_group = names[_moved(at, steps, len(names))]
        elif shown := self.shown():
            at = next((place for place, each in enumerate(shown) if each is self.chosen), None)
            self.chosen = shown[_moved(at, steps, len(shown))]

    def _groups(self) -> list[Group]:
        return self.groups.of(self.shown())

    def _said(self) -> str:
        """Return what the keys have changed, as a line; empty if all is as at first."""
        parts = ["PAUSED"] if self.is_paused else []
        parts += [f"sorted by {self.order.column}"] if self.order.column != WORST else []
        parts += [f"grouped by {self.groups.by}"] if self.groups.by != GROUPS[0] else []
        parts += [f"only {self.within[0]} {self.within[1]}"] if self.within else []
        parts += [f"filter {self.text}"] if self.text else []
        return "; ".join([*parts, *self.wish.faults])

    def _fits(self, row: SocketRow) -> bool:
        if self.within and group_name(row, self.within[0]) != self.within[1]:
            return False
        if self.wish.asked == ANY:
            return True
        name = row.whose.netns_name
        return fits_whose(self.wish.asked, row, row.whose, lambda _: (name,) if name else ())


def _moved(at: int | None, steps: int, count: int) -> int:
    """Return the place of the row that is chosen next; where none is, `at` None, a step down leads to the first."""
    return max(0, min((-1 if at is None else at) + steps, count - 1))
