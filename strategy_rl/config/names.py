"""Names that become folders: which are allowed. Knows nothing of paths."""

from __future__ import annotations

import re

NAME_RULE = (
    "1 to 64 characters from A-Z a-z 0-9 . _ -, a letter or digit first, no '..' and no '.' last"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Windows opens the device whatever the folder and the ending are.
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(10)}


def name_fault(name: str) -> str | None:
    """What is wrong with `name` as the name of a folder, or None where it is fine."""
    if not _NAME.fullmatch(name) or ".." in name or name.endswith("."):
        return f"{shorten(name)} is no usable name; expected {NAME_RULE}"
    if name.split(".")[0].lower() in _DEVICES:
        return f"{shorten(name)} is a device on Windows; choose another name"
    return None


def shorten(value: object, limit: int = 60) -> str:
    """A value as a YAML file shows it, cut so that a message stays one readable line."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    text = "null" if value is None else text
    return text if len(text) <= limit else text[: limit - 3] + "..."
