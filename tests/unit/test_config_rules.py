# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Rules in config.yaml: what each means, and of each bad one the line, the path to the key, what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockbpf.judge.levels import severity_of
from sockbpf.monitor.rule_terms import destinations_by_rule, rules_of
from sockbpf.record.event import Protocol
from sockbpf.record.facts import Condition, Severity
from sockbpf.record.rule import NEVER_STALLED, Match, Prefix, StallSettings
from sockbpf.settings.config import Config, load
from tests.unit.written_settings import URL, faults

PORT = "expected a port from 0 to 65535, or a range such as 8000-8100"
IP = "expected an address or a prefix such as 10.0.0.0/8 or 2001:db8::/32"
CONTAINER = "expected a container's id, its first 12 digits, or a pattern"
USER = "expected a user's name or number"
NAMESPACE = "expected a network namespace's name, or its inode number"
PROCESS = "expected a process's name or a pattern such as rsync*"
CGROUP = "expected a path that begins with / or *, such as /system.slice/*"
SIZE = "expected a size such as 64KiB or 80%"
BY_CONDITION = "expected a severity by condition (size, fill, accept, stalled), such as {stalled: critical}"
FIT = "expected conditions that fit together"
KEYS = (
    "protocol, type, local_port, remote_port, local_ip, remote_ip, process, user, unit, container, cgroup, netns, "
    "listener"
)
RULE_KEYS = (
    "name, match, ignore, thresholds, clear_ratio, hold, repeat, events, stalled, "
    "flapping, severity, destinations"
)

BAD_CONDITIONS = {
    "protocol: sctp": ("protocol", "expected one of tcp, udp, got 'sctp'"),
    "protocol: TCP": ("protocol", "expected one of tcp, udp, got 'TCP', did you mean tcp?"),
    "protocol: []": ("protocol", "expected a value, or a list with something in it, got []"),
    "protocol: [tcp, x]": ("protocol > item 2", "expected one of tcp, udp, got 'x'"),
    "protocol: [[tcp]]": ("protocol > item 1", "expected one of tcp, udp, got ['tcp']"),
    "type: BOTH": ("type", "expected one of SEND, RECV, ACCEPT, got 'BOTH'"),
    "type: [SEND, recv]": ("type > item 2", "expected one of SEND, RECV, ACCEPT, got 'recv', did you mean RECV?"),
    "type: {a: b}": ("type", "expected one of SEND, RECV, ACCEPT, got {'a': ...}"),
    "local_port: 65536": ("local_port", f"{PORT}, got '65536'"),
    "local_port: -1": ("local_port", f"{PORT}, got '-1'"),
    "local_port: 017": ("local_port", f"{PORT}, got '017'"),
    "local_port: http": ("local_port", f"{PORT}, got 'http'"),
    "local_port: 8100-8000": ("local_port", f"{PORT}, got '8100-8000'"),
    "local_port: 1-2-3": ("local_port", f"{PORT}, got '1-2-3'"),
    "local_port: [443, 70000]": ("local_port > item 2", f"{PORT}, got '70000'"),
    "local_port: ''": ("local_port", f"{PORT}, got ''"),
    "local_port: []": ("local_port", "expected a value, or a list with something in it, got []"),
    "remote_port: 1.5": ("remote_port", f"{PORT}, got '1.5'"),
    "remote_port: {from: 1}": ("remote_port", f"{PORT}, got {{'from': ...}}"),
    "local_ip: host": ("local_ip", f"{IP}, got 'host'"),
    "local_ip: 10.0.0": ("local_ip", f"{IP}, got '10.0.0'"),
    "local_ip: 10.0.0.0/33": ("local_ip", f"{IP}, got '10.0.0.0/33'"),
    "local_ip: '[::1]'": ("local_ip", f"{IP}, got '[::1]'"),
    "local_ip: fe80::1%eth0": ("local_ip", f"{IP}, got 'fe80::1%eth0'"),
    "remote_ip: 10.0.0.1/8": (
        "remote_ip", "expected a prefix without bits behind its length, such as 10.0.0.0/8, got '10.0.0.1/8'"
    ),
    "remote_ip: 2001:db8::1/32": (
        "remote_ip",
        "expected a prefix without bits behind its length, such as 2001:db8::/32, got '2001:db8::1/32'",
    ),
    "remote_ip: [10.0.0.0/8, x]": ("remote_ip > item 2", f"{IP}, got 'x'"),
    "process: ''": ("process", f"{PROCESS}, got ''"),
    "process: [a, '']": ("process > item 2", f"{PROCESS}, got ''"),
    "process: {a: b}": ("process", f"{PROCESS}, got {{'a': ...}}"),
    "process: /usr/bin/rsync": ("process", "expected a process's name, without a path, got '/usr/bin/rsync'"),
    "process: a-very-long-name": (
        "process",
        "expected at most 15 bytes, what the kernel keeps of a name; or a pattern, got 'a-very-long-name'",
    ),
    "user: nobody-by-this-name": (
        "user", "expected a user that this host has, or the number of one, got 'nobody-by-this-name'"
    ),
    "user: -1": ("user", f"{USER}, got '-1'"),
    "user: 4294967295": ("user", f"{USER}, got '4294967295'"),
    "user: a b": ("user", f"{USER}, got 'a b'"),
    "user: []": ("user", "expected a value, or a list with something in it, got []"),
    "unit: backup": ("unit", "expected a unit with its suffix, such as backup.service, got 'backup'"),
    "unit: a/b.service": ("unit", "expected a unit with its suffix, such as backup.service, got 'a/b.service'"),
    "unit: ''": ("unit", "expected a unit of systemd or a pattern such as backup*.service, got ''"),
    "container: my-web": ("container", f"{CONTAINER}, got 'my-web'"),
    "container: ''": ("container", f"{CONTAINER}, got ''"),
    "cgroup: system.slice": ("cgroup", f"{CGROUP}, got 'system.slice'"),
    "cgroup: [/a, b]": ("cgroup > item 2", f"{CGROUP}, got 'b'"),
    "netns: 0": ("netns", f"{NAMESPACE}, got '0'"),
    "netns: a/b": ("netns", f"{NAMESPACE}, got 'a/b'"),
    "netns: 99999999999": ("netns", f"{NAMESPACE}, got '99999999999'"),
    "listener: maybe": ("listener", "expected true or false, got 'maybe'"),
    "listener: [true]": ("listener", "expected true or false, got ['true']"),
    "locl_port: 1": ("locl_port", "unknown key, did you mean 'local_port'?"),
    "zzz: 1": ("zzz", f"unknown key, expected one of {KEYS}"),
}  # fmt: skip
"""A condition that is no good -> the path to its key below `match`, and the fault."""

BAD_SETTINGS = {
    "thresholds: 1": ("thresholds", "expected keys (send, recv) with their values, got '1'"),
    "thresholds: {send: lots}": ("thresholds > send", f"{SIZE}, got 'lots'"),
    "thresholds: {recv: -1}": (
        "thresholds > recv",
        "expected a size from 0 to 2147483647, got '-1'",
    ),
    "thresholds: {sedn: 1}": ("thresholds > sedn", "unknown key, did you mean 'send'?"),
    "hold: often": ("hold", "expected a duration such as 30s, got 'often'"),
    "repeat: 1ms": ("repeat", "expected a duration from 1s to 8760h, got '1ms'"),
    "clear_ratio: 2": ("clear_ratio", "expected a number from 0 to 1, got '2'"),
    "events: [cleared]": (
        "events",
        "expected a list with exceeded in it and no event twice, got ['cleared']",
    ),
    "events: exceeded": ("events", "expected a list such as [exceeded, ongoing], got 'exceeded'"),
    "events: [exceeded, x]": ("events > item 2", "expected one of exceeded, ongoing, cleared, got 'x'"),
    "flapping: {above: -1}": ("flapping > above", "expected a whole number from 0 to 1000000, got '-1'"),
    "flapping: {window: 1ms}": ("flapping > window", "expected a duration from 1s to 24h, got '1ms'"),
    "flapping: 5": ("flapping", "expected keys (above, window) with their values, got '5'"),
    "severity: {stuck: critical}": (
        "severity",
        f"{BY_CONDITION}, got {{'stuck': ...}}",
    ),
    "severity: {stalled: bad}": (
        "severity",
        f"{BY_CONDITION}, got {{'stalled': ...}}",
    ),
    "severity: bad": ("severity", "expected one of warning, critical, got 'bad'"),
    "destinations: [nowhere]": ("destinations > item 1", "expected one of http, got 'nowhere'"),
    "destinations: [http, http]": (
        "destinations",
        "expected a list with something in it and nothing twice, got ['http', 'http']",
    ),
    "destinations: []": ("destinations", "expected a list with something in it and nothing twice, got []"),
    "destinations: http": ("destinations", "expected a list such as [http], got 'http'"),
    "ignore: perhaps": ("ignore", "expected true or false, got 'perhaps'"),
    "name: a b": ("name", "expected a name of letters, digits and _.-, such as second, got 'a b'"),
    "name: []": ("name", "expected a name of letters, digits and _.-, such as second, got []"),
    "holdd: 1s": ("holdd", "unknown key, did you mean 'hold'?"),
    "zzz: 1": ("zzz", f"unknown key, expected one of {RULE_KEYS}"),
}
"""What a rule must not set -> the path to its key below the rule, and the fault."""

BAD_LISTS = {
    "rules: 1": ":2: rules: expected a list such as [{match: {local_port: 443}, thresholds: {recv: 64KiB}}], got '1'",
    "rules: [1]": f":2: rules > item 1: expected keys ({RULE_KEYS}) with their values, got '1'",
    "rules: [{ignore: true}]": (
        ":2: rules > item 1 > match: required, the conditions, such as {local_port: 443}"
    ),
    "rules:\n- match: {}": ":3: rules > item 1 > match: expected at least one condition, got {}",
    "rules:\n- match: 7": f":3: rules > item 1 > match: expected keys ({KEYS}) with their values, got '7'",
    "rules:\n- match: {protocol: udp, listener: true}": (
        f":3: rules > item 1 > match: {FIT}: only a TCP socket can be a listener, "
        "got {'protocol': ..., 'listener': ...}"
    ),
    "rules:\n- match: {type: SEND, listener: true}": (
        f":3: rules > item 1 > match: {FIT}: a listener has the type ACCEPT alone, "
        "got {'type': ..., 'listener': ...}"
    ),
    "rules:\n- match: {type: ACCEPT, listener: false}": (
        f":3: rules > item 1 > match: {FIT}: only a listener has the type ACCEPT, "
        "got {'type': ..., 'listener': ...}"
    ),
    "rules:\n- match: {user: 0}\n  ignore: true\n  hold: 1s": (
        ":3: rules > item 1: expected nothing that is set beside ignore: true, but there is hold, "
        "got {'match': ..., 'ignore': ..., 'hold': ...}"
    ),
    "rules:\n- {name: a, match: {user: 0}}\n- {name: a, match: {user: 0}}": (
        ":4: rules > item 2 > name: expected a name that no other rule has, got 'a'"
    ),
    "rules:\n- {name: rule-2, match: {user: 0}}\n- {match: {user: 0}}": (
        ":3: rules > item 1 > name: expected a name that no other rule has, got 'rule-2'"
    ),
}


def test_there_are_many_bad_rules() -> None:
    assert len(BAD_CONDITIONS) + len(BAD_SETTINGS) + len(BAD_LISTS) >= 60


@pytest.mark.parametrize("condition", BAD_CONDITIONS)
def test_a_bad_condition_is_told_with_line_and_key(file: Path, condition: str) -> None:
    path, fault = BAD_CONDITIONS[condition]
    text = f"url: {URL}\nrules:\n- match: {{user: 0}}\n- match:\n    {condition}\n"
    assert faults(file, text) == [f":5: rules > item 2 > match > {path}: {fault}"]


@pytest.mark.parametrize("setting", BAD_SETTINGS)
def test_what_a_rule_must_not_set_is_told_with_line_and_key(file: Path, setting: str) -> None:
    path, fault = BAD_SETTINGS[setting]
    text = f"url: {URL}\nrules:\n- match: {{user: 0}}\n  {setting}\n"
    assert faults(file, text) == [f":4: rules > item 1 > {path}: {fault}"]


@pytest.mark.parametrize("rules", BAD_LISTS)
def test_rules_that_are_none_are_told(file: Path, rules: str) -> None:
    assert faults(file, f"url: {URL}\n{rules}\n") == [BAD_LISTS[rules]]


def test_all_faults_of_all_rules_are_told_in_one_run(file: Path) -> None:
    text = f"url: {URL}\nrules:\n- match: {{local_port: x, user: 0}}\n  hold: x\n- {{match: {{zzz: 1}}, ignore: x}}\n"
    assert [fault.split(": ")[0] for fault in faults(file, text)] == [":3", ":4", ":5", ":5"]


def good(file: Path, rules: str, more: str = "") -> Config:
    file.write_text(f"url: {URL}\n{more}\nrules:\n{rules}\n")
    return load(file)


def test_what_a_rule_does_not_say_stays(file: Path) -> None:
    config = good(
        file,
        "- name: backup\n  match: {local_port: [873, 8000-8100]}\n  thresholds: {send: 64MiB}\n  hold: 10s\n"
        "- {match: {process: dhclient}, ignore: true}\n"
        "- {match: {user: 0}, clear_ratio: 0.5, repeat: 5s, events: [exceeded], severity: critical, "
        "flapping: {above: 7}, destinations: [http]}\n",
        "thresholds: {send: 1000, recv: 2000}\nclear_ratio: 0.8\nhold: 1s\nrepeat: 60s\n",
    )
    backup, ignored, root = rules_of(config)
    assert backup.match == Match(local_ports=((873, 873), (8000, 8100)))
    assert backup.decision.threshold == (64 * 2**20, 2000)
    assert backup.decision.clear == (int(64 * 2**20 * 0.8), 1600)
    assert (backup.decision.hold_ns, backup.decision.repeat_ns) == (10 * 10**9, 60 * 10**9)
    assert (backup.decision.applied.rule, backup.decision.applied.events) == ("backup", None)
    assert ignored.decision.threshold == (2**32 - 1,) * 2
    assert (root.decision.threshold, root.decision.clear) == ((1000, 2000), (500, 1000))
    assert (root.decision.hold_ns, root.decision.repeat_ns) == (10**9, 5 * 10**9)
    applied = root.decision.applied
    assert (applied.rule, applied.severity, applied.events) == ("rule-3", "critical", frozenset({"exceeded"}))
    assert (applied.flapping_above, applied.flapping_window_ns) == (7, None)
    assert destinations_by_rule(config) == {"rule-3": {"http"}}


def test_a_severity_by_condition(file: Path) -> None:
    (rule,) = rules_of(good(file, "- {match: {user: 0}, severity: {stalled: critical, size: warning}}"))
    applied = rule.decision.applied
    assert applied.severity is None
    told = [
        severity_of(applied, each, Severity.WARNING).value for each in (Condition.STALLED, Condition.SIZE)
    ]
    assert told == ["critical", "warning"]
    assert severity_of(applied, Condition.ACCEPT, Severity.CRITICAL) is Severity.CRITICAL


def test_a_rule_with_thresholds_of_its_own_has_no_hold_unless_one_is_written(file: Path) -> None:
    written = "- {match: {user: 0}, thresholds: {recv: 64KiB}}\n- {match: {user: 1}, severity: critical}\n"
    holds = {
        more: [rule.decision.hold_ns // 10**9 for rule in rules_of(good(file, written, more))]
        for more in ("", "hold: auto", "hold: 3s")
    }
    assert holds == {"": [0, 10], "hold: auto": [0, 10], "hold: 3s": [3, 3]}


def test_a_rule_says_when_a_queue_is_stalled(file: Path) -> None:
    rules = rules_of(
        good(
            file,
            "- {match: {user: 0}, stalled: {after: 5m}}\n- {match: {user: 1}, stalled: {after: 0s}, repeat: 5s}\n"
            "- {match: {user: 2}, stalled: {above: 64KiB}}\n- {match: {user: 3}, ignore: true}\n",
            "stalled: {after: 20s, above: 2KiB}",
        )
    )
    s = 10**9
    assert [rule.decision.stalled for rule in rules] == [
        StallSettings(300 * s, 2048, 60 * s),
        StallSettings(0, 2048, 5 * s),
        StallSettings(20 * s, 65536, 60 * s),
        NEVER_STALLED,
    ]


def test_conditions_are_read_as_they_are_meant(file: Path) -> None:
    rules = rules_of(
        good(
            file,
            "- match: {protocol: tcp, type: [SEND, RECV], local_ip: [10.0.0.0/8, '::1', '::ffff:192.0.2.0/120'],\n"
            "          remote_ip: 2001:db8::/32, user: [root, 1009], unit: '*.service', container: 0123456789ab,\n"
            "          cgroup: /a/*, netns: [blue, 4026531840], listener: false, process: [rsync*, nginx]}\n",
        )
    )
    assert rules[0].match == Match(
        protocols=(Protocol.TCP,),
        types=("SEND", "RECV"),
        local_ips=(Prefix(4, 10 << 24, 8), Prefix(6, 1, 128), Prefix(4, 192 << 24 | 2 << 8, 24)),
        remote_ips=(Prefix(6, 0x20010DB8 << 96, 32),),
        processes=("rsync*", "nginx"),
        users=(0, 1009),
        units=("*.service",),
        containers=("0123456789ab",),
        cgroups=("/a/*",),
        netns=("blue", 4026531840),
        listener=False,
    )


def test_a_thousand_rules_can_be_written(file: Path) -> None:
    rules = "".join(
        f"- {{name: service-{port}, match: {{local_port: {port}}}, thresholds: {{recv: {port}KiB}}}}\n"
        for port in range(1, 1001)
    )
    assert len(good(file, rules).rules) == 1000
    assert (
        "expected at most 1024 rules"
        in faults(file, f"url: {URL}\nrules:\n" + "- {match: {user: 0}}\n" * 1025)[0]
    )
