"""Letters as people see them, whatever bytes they are written in."""

from __future__ import annotations

import unicodedata

UNSEEN = dict.fromkeys([0x00AD, 0x200B, 0x2060, 0xFEFF])
NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # full-width letters, digits and signs


def composed(text: str | bytes) -> str:
    """A letter and its accent as one character, full-width letters as any other: what TensorFlow has no operation for.
    So it is done where texts come in, and not in an export.

    >>> composed("e\u0301 \uff21") == "\u00e9 A"
    True
    """
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    text = text.translate(NARROW)
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def is_blank(text: str) -> bool:
    """Whether nobody sees anything of it."""
    return not text.translate(UNSEEN).strip()
