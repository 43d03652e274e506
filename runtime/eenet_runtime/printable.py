"""Text from strangers, such as a file's name, made fit for one line of a terminal, a log or a table."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Spell out every character that does not print as itself.

    Line breaks, escape sequences, marks that turn the direction of writing and bytes that are no UTF-8 come out as
    `\n`, `\x1b`, `\u202e` and `\xff`. Everything that prints stays, so a text that went through once stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _spelled_out(character) for character in text)


def _spelled_out(character: str) -> str:
    # os.fsdecode keeps a byte that is no UTF-8 as a lone surrogate, U+DC00 plus the byte.
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
