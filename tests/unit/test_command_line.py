# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Each command takes its own options and shows only them; whatever else is typed ends with exit code 2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sockbpf.cli import COMMANDS, main
from sockbpf.usage import WHICH_CONFIG, parse

OPTIONS: dict[str, dict[str, str | None]] = {
    "run": {"--config": "F", "--ready-file": "F", "--beside": None},
    "check": {"--config": "F"},
    "explain": {"--config": "F"},
    "status": {"--json": None, "--socket": "F"},
    "silence": {"--match": "F", "--for": "F", "--reason": "F", "--list": None, "--end": "F", "--socket": "F"},
    "advise": {
        "--config": "F",
        "--since": "F",
        "--service": "F",
        "--host": "F",
        "--json": None,
        "--write": None,
    },
    "sockets": {
        "--config": "F",
        **dict.fromkeys(("--tcp", "--udp", "--listen", "--all", "--summary", "--json")),
        "--limit": "7",
        **dict.fromkeys(
            ("--port", "--local-port", "--remote-port", "--ip", "--local-ip", "--remote-ip"), "F"
        ),
        **dict.fromkeys(("--process", "--unit", "--container", "--cgroup", "--user", "--netns"), "F"),
        "--state": "F",
        "--type": "F",
    },
    "top": {"--config": "F", "--once": None, "--filter": "F", "--socket": "F"},
    "demo": {},
    "store": {"--config": "F"},
}
"""What each command takes, with a value where it wants one."""

INSTEAD = {"sockets": {"--csv"}}
"""Options that a command takes in place of others."""

TAKEN: dict[str, object] = {
    "--limit": 7,
    **dict.fromkeys(("--config", "--ready-file", "--socket"), Path("F")),
    **dict.fromkeys(("--match", "--for", "--reason", "--end", "--since", "--service", "--host"), "F"),
}
"""What becomes of the values; of others a list, as these can be given more than once."""

WORDS = {"explain": ["127.0.0.1:9"]}
"""What a command takes besides its options."""

LINES, COLUMNS = 23, 80
"""Of a screen of 80 x 24 a prompt takes a line."""
EVERY = {name: value for options in OPTIONS.values() for name, value in options.items()}
FOREIGN = [
    (command, option)
    for command in OPTIONS
    for option in EVERY
    if not any(
        own.startswith(option) for own in OPTIONS[command]
    )  # `--list` is short for `--listen` of sockets
]


def typed(option: str) -> list[str]:
    value = EVERY[option]
    return [option] if value is None else [option, value]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Type what must be refused as usage; return what was said."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_every_command_is_here() -> None:
    assert set(OPTIONS) == set(COMMANDS)


@pytest.mark.parametrize("command", OPTIONS)
def test_its_help_shows_its_own_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: sockbpf")
    assert command in said.splitlines()[0]
    assert set(re.findall(r"--[a-z][a-z-]*", said)) == {
        *OPTIONS[command], *INSTEAD.get(command, ()), "--help",
    }  # fmt: skip
    assert "exit codes: 0 ok" in said
    assert re.search(rf"(?m)^example: (sudo )?sockbpf ({command} ?|-c)", said)


@pytest.mark.parametrize("words", [(), *((command,) for command in OPTIONS)])
def test_help_fits_a_screen(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS
    assert any(line.startswith("example: ") for line in lines)


def test_the_help_of_all_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert re.search(rf"(?m)^ +{name} +{re.escape(command.summary)}$", said)


@pytest.mark.parametrize(("command", "option"), FOREIGN)
def test_options_of_another_command_are_refused(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [word for each in OPTIONS[command] for word in typed(each)]
    said = refused(capsys, command, *WORDS.get(command, ()), *own, *typed(option))
    assert re.match(rf"usage: sockbpf \[?{command}", said)
    assert f"error: unrecognized arguments: {' '.join(typed(option))}" in said


@pytest.mark.parametrize("command", OPTIONS)
def test_its_own_options_are_taken(command: str) -> None:
    taken = parse(
        COMMANDS,
        [command, *WORDS.get(command, ()), *(word for option in OPTIONS[command] for word in typed(option))],
    )
    assert taken.command == command
    for option, value in OPTIONS[command].items():
        assert getattr(taken, option[2:].replace("-", "_")) == (TAKEN.get(option, [value]) if value else True)


def test_sockets_needs_no_configuration() -> None:
    assert parse(COMMANDS, ["sockets"]).config is None


def test_without_a_command_it_runs() -> None:
    taken = parse(COMMANDS, ["-c", "F", "--ready-file", "R"])
    assert (taken.command, taken.config, taken.ready_file, taken.beside) == (
        "run",
        Path("F"),
        Path("R"),
        False,
    )


@pytest.mark.parametrize("words", [(), ("run",), ("check",), ("store",), ("explain", "9"), ("--beside",)])
def test_the_configuration_is_asked_for(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert "error: which configuration? -c FILE" in refused(capsys, *words)


@pytest.mark.parametrize(
    "words", [("chekc",), ("check", "check"), ("demo", "now"), ("-c",), ("--beside=1",), ("explain",)]
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, *words).startswith("usage: sockbpf")


def test_a_command_after_options_is_refused_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert "check: a command is the first word" in refused(capsys, "-c", "F", "check")


def test_without_anything_it_says_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys)
    assert WHICH_CONFIG in said
    asked = [
        line.split("  ")[1].removeprefix("sudo ").split()[1:] for line in said.splitlines() if line[0] == " "
    ]
    assert len(asked) >= 5
    for words in asked:  # each of them is something that can be typed
        if words != ["--help"]:
            parse(COMMANDS, words)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("stauts",), "there is no command 'stauts', did you mean status?"),
        (("socket", "--tcp"), "there is no command 'socket', did you mean sockets?"),
        (("xyzzy",), "there is no command 'xyzzy'; sockbpf --help"),
        (("status", "--jsn"), "unrecognized arguments: --jsn, did you mean --json?"),
        (("sockets", "--prot=443"), "unrecognized arguments: --prot=443, did you mean --port?"),
        (("sockets", "port:443"), "unrecognized arguments: port:443, did you mean --port?"),
        (("sockets", "udp"), "unrecognized arguments: udp, did you mean --udp?"),
        (("sockets", "443"), "unrecognized arguments: 443, did you mean --port 443?"),
        (("sockets", "nginx"), "unrecognized arguments: nginx, did you mean --process nginx?"),
        (("sockets", "10.0.0.0/8"), "unrecognized arguments: 10.0.0.0/8, did you mean --ip 10.0.0.0/8?"),
        (("sockets", "--protocol", "tcp"), "unrecognized arguments: --protocol tcp, did you mean --tcp?"),
        (("sockets", "--format", "json"), "unrecognized arguments: --format json, did you mean --json?"),
        (("sockets", "-u"), "unrecognized arguments: -u, did you mean --udp?"),
        (("sockets", "-tuanp"), "unrecognized arguments: -tuanp, did you mean --tcp --udp --all?"),
        (("top", "--port", "443"), "unrecognized arguments: --port 443, did you mean --filter port:…?"),
        (("top", "--csv"), "unrecognized arguments: --csv, an option of sockbpf sockets"),
        (("explain", "a.yaml", "1"), "a.yaml is no socket, did you mean -c a.yaml?"),
        (("check", "a.yaml"), "unrecognized arguments: a.yaml, did you mean --config a.yaml?"),
        (("check", "-f", "x"), "unrecognized arguments: -f x, did you mean --config?"),
        (("top", "nginx"), "unrecognized arguments: nginx, did you mean --filter nginx?"),
        (("--versoin",), "unrecognized arguments: --versoin, did you mean --version?"),
        (("a.yaml",), "there is no command 'a.yaml', did you mean -c a.yaml?"),
        (("help",), "there is no command 'help', did you mean --help?"),
        (("monitor",), "there is no command 'monitor', did you mean run?"),
        (
            ("-c", "F", "--redy-file", "R"),
            "unrecognized arguments: --redy-file R, did you mean --ready-file?",
        ),
        (("--summary",), "unrecognized arguments: --summary, an option of sockbpf sockets\n"),
    ],
)
def test_a_typing_mistake_is_answered_with_what_was_meant(
    words: tuple[str, ...], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"error: {meant}" in refused(capsys, *words)
