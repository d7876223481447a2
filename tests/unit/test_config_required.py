# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Each key that is required is asked for in its own words."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sockbpf.errors import ConfigError
from sockbpf.settings.config import Config, load
from sockbpf.settings.destinations import MODELS
from tests.unit.written_settings import URL


def models(section: type[BaseModel]) -> list[type[BaseModel]]:
    found = [section]
    for field in section.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += models(field.annotation)
    return found


REQUIRED = [
    (model, key, field)
    for model in [*models(Config), *MODELS.values()]
    for key, field in model.model_fields.items()
    if field.is_required()
]


def test_there_are_required_keys() -> None:
    assert {key for _, key, _ in REQUIRED} >= {"url", "path"}


@pytest.mark.parametrize(("model", "key", "field"), REQUIRED)
def test_each_required_key_is_told_in_its_own_words(
    file: Path, model: type[BaseModel], key: str, field: FieldInfo
) -> None:
    assert field.description
    names = [name for name, its in MODELS.items() if its is model]
    file.write_text(f"url: {URL}\ndestinations: [{{type: {names[0]}, name: it}}]" if names else "log: info")
    with pytest.raises(ConfigError) as refused:
        load(file)
    where = f"destinations > item 1 > {key}" if names else key
    assert f"{where}: required, {field.description}" in str(refused.value)


def test_a_required_key_without_words_is_told_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Config.model_fields["url"], "description", None)
    file.write_text("log: info")
    with pytest.raises(ConfigError, match=r":1: url: required$"):
        load(file)
