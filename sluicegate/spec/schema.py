"""The JSON schema of a configuration, for editors. It comes from the same table as everything else."""

from __future__ import annotations

from typing import Any

from sluicegate.spec.language import Document
from sluicegate.spec.sections import Section


def schema() -> dict[str, Any]:
    """Draft 2020-12. Looser than the loader where text may be a reference; keys that arrive later are not in it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sluicegate configuration",
        **Section(Document).schema(),
    }
