# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is wrong with how a page looks."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page


def faults(page: Page, width: int) -> list[str]:
    """Return what axe finds, of any impact, and whether the page is wider than the screen."""
    found = [f"{each['id']}: {node['target']}: {node['failureSummary']}"
             for each in Axe().run(page).response["violations"] for node in each["nodes"]]  # fmt: skip
    wide = page.evaluate("document.documentElement.scrollWidth")
    return [*found, f"{wide} pixels wide"] if wide > width else found
