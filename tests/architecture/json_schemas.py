"""Write the JSON Schemas of reports, summaries and manifests from the dataclasses that these files are made of.

    python -m tests.architecture.json_schemas

Types give the shape, docstrings the words. Fields may be added later without a new schema version, so other properties
are allowed everywhere; a field that has a default came in later, or may be left out, and is not required.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from eenet_runtime.bundle.manifest import SCHEMA_VERSION, Manifest
from eenet_runtime.folders.summary import SUMMARY_SCHEMA_VERSION
from eenet_runtime.folders.summary_file import SummaryFile
from eenet_runtime.results.report import REPORT_SCHEMA_VERSION, CaseReport
from tests.places import ROOT

FOLDER: Final = ROOT / "runtime" / "eenet_runtime" / "schemas"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: Final[Mapping[Any, dict[str, Any]]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    Any: {},
    Path: {"type": "string"},
}
_LATER: Final = ("not_proven",)
"""Fields that bundles of earlier releases do not have."""
_PROVENANCE: Final = {"type": "object", "description": "of each form the regions that no case of the gate proves"}


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by the name of its file."""
    return {
        "report.schema.json": _document(
            CaseReport,
            "A report beside a mask, <case>.json",
            {"schema_version": {"const": REPORT_SCHEMA_VERSION}, "status": {"const": "done"}},
        ),
        "summary.schema.json": _document(
            SummaryFile, "summary.json", {"schema_version": {"const": SUMMARY_SCHEMA_VERSION}}
        ),
        "manifest.schema.json": _document(
            Manifest,
            "manifest.json of a bundle",
            {
                "schema_version": {"const": SCHEMA_VERSION},
                "not_proven": _PROVENANCE,
                "checksum": {"type": "string", "description": "SHA-256 of the rest"},
            },
        ),
    }


def text_of(schema: Mapping[str, Any]) -> str:
    """A schema as it lies in its file."""
    return json.dumps(schema, indent=2) + "\n"


def _document(kind: type[Any], title: str, more: Mapping[str, Any]) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    body = _object(kind, definitions)
    body["properties"] = {**more, **{name: part for name, part in body["properties"].items() if name not in more}}
    always = (name for name in more if name not in _LATER)
    body["required"] = [*always, *(name for name in body["required"] if name not in more)]
    return {"$schema": DIALECT, "title": title, **body, "$defs": dict(sorted(definitions.items()))}


def _object(kind: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    words = _words(kind)
    properties = {}
    for field in fields(kind):
        part = _schema(hints[field.name], definitions)
        properties[field.name] = {**part, "description": words[field.name]} if field.name in words else part
    required = [field.name for field in fields(kind) if not _has_default(field)]
    return {
        "description": cleandoc(kind.__doc__ or "").split("\n")[0],
        "type": "object",
        "properties": properties,
        "required": required,
    }


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _schema(arguments[1], definitions)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(argument, definitions) for argument in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return _array(arguments, definitions)
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if is_dataclass(hint) and isinstance(hint, type):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}
            definitions[hint.__name__] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    raise TypeError(f"no schema for {hint}")


def _array(arguments: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    items = [_schema(argument, definitions) for argument in arguments]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _words(kind: type[Any]) -> dict[str, str]:
    """What the docstring says of each attribute; of those that share an entry all get its words."""
    return dict(_entries(cleandoc(kind.__doc__ or "")))


def _entries(text: str) -> Iterator[tuple[str, str]]:
    part = re.search(r"^Attributes:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    entries = re.split(r"\n(?=    \S)", part[1].rstrip()) if part else []
    for entry in entries:
        names, _, words = entry.strip().partition(": ")
        for name in names.split(", "):
            yield name, " ".join(words.split())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (FOLDER / name).write_text(text_of(schema), encoding="utf-8")
