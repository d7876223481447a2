"""What /openapi.json says of the store is true: schemathesis asks for everything that it allows, and for what it does not.

Of each operation the statuses, the content types and the schemas of the answers must be those declared; what the
description allows must be taken, and what it forbids refused.
"""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from tests.store.conftest import StartStore

EXAMPLES = 60
"""Of each operation, allowed and forbidden ones."""
