"""Tell what this machine can run, what is missing, and how to get it.

python -m lelsd_core doctor
"""

from __future__ import annotations

import argparse
from typing import Any

from lelsd_core.commands.options import add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    add_device(parser)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Look at everything; the exit code is 1 if the model that ships does not work."""
    from lelsd_core.device import choose_device
    from lelsd_core.doctor import examine

    findings = []
    for finding in examine(choose_device(options.device)):
        findings.append(finding)
        print(finding.line, flush=True)
    options.code = int(any(finding.needed and finding.how for finding in findings))
    return {
        "ready": [finding.words for finding in findings if not finding.how],
        "missing": [{"what": finding.words, "how": finding.how} for finding in findings if finding.how],
    }
