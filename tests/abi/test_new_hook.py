# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A hook that is added as CONTRIBUTING says takes two files; this kernel's verifier takes it, and it is attached."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.copies import changed, copied, not_named, replace_once, run

NEW = "tp_tcp_receive_reset"
EDITS = {
    "bpf/tracepoints.h": (
        "/* tcp:tcp_probe(sk, skb): ",
        f"""/* tcp:tcp_receive_reset(sk), from 4.16: the other end has reset the connection. */
TRACEPOINT({NEW})
{{
	return judge_tcp(ctx, SK(0), SEND, false);
}}

/* tcp:tcp_probe(sk, skb): """,
    ),
    "sockbpf/kernel/build/hooks.py": (
        '    "TCP send shrinks": (\n',
        (
            '    "TCP send shrinks": (\n'
            '        Candidate((_tp("tcp_receive_reset"),), unseen="everything but a reset"),\n'
        ),
    ),
}
"""File -> what stands in it, and what is to stand there."""

PROGRAM = f"""
import json
import sockbpf
from sockbpf.kernel.attach.attachments import Attachments
from sockbpf.kernel.build.choice import HOOKS, choose
from sockbpf.kernel.build.hooks import TRACEPOINTS
from sockbpf.kernel.build.source import kernel_symbols
from tests.abi.everything import every_program
from tests.abi.programs import PROGRAMS

(hook,) = [hook for hook in HOOKS if hook.program == "{NEW}"]
sights = choose(TRACEPOINTS, kernel_symbols({{each.target for each in HOOKS}}), {{}})
(sight,) = [sight for sight in sights if sight.thing == "TCP send shrinks"]
with every_program() as everything:
    attachments = Attachments(everything.loaded.programs, everything.loaded.refused)
    refused = attachments.attach([hook])
    attached = hook in attachments
    attachments.close()
print(json.dumps({{
    "from": sockbpf.__file__,
    "programs": sorted(PROGRAMS),
    "chosen": hook in sight.candidate.hooks,
    "verifier": everything.loaded.refused,
    "refused": list(refused.values()),
    "attached": attached,
}}))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the tree in which the hook was added."""
    tree = copied(tmp_path / "tree", ["sockbpf", "bpf", "tests/abi", "tests/unit"])
    for path, (old, new) in EDITS.items():
        replace_once(tree / path, old, new)
    return tree


def test_a_hook_takes_two_files_and_both_are_named(copy: Path) -> None:
    files = changed(copy)
    assert files == set(EDITS)
    assert len(files) == 2
    assert not not_named(files, "To add a hook")


@pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")
def test_it_is_chosen_compiled_loaded_and_attached(copy: Path) -> None:
    out = json.loads(run(copy, "-c", PROGRAM).splitlines()[-1])
    assert out["from"].startswith(str(copy))
    assert NEW in out["programs"]
    assert out["chosen"]
    assert NEW not in out["verifier"], out["verifier"][NEW]
    assert out["refused"] == []
    assert out["attached"]
