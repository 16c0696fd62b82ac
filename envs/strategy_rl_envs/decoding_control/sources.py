"""What a source row becomes: a prompt, and what its answer is judged by. Knows no files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from strategy_rl_envs.kit.record import Record

SENTENCES = 2  # of a description that the prompt holds
COPIED = 40, 110  # characters of a sentence to be copied, at least and at most
SENTENCE = 8, 16  # words, with keywords among them
LENGTHS = {"short": (4, 7), "long": (20, 24)}  # words
BRIEFLY = "Answer in a few words."
Row = dict[str, Any]

_LANGUAGES = ("C++", "C", "Python", "Perl", "Go", "Java", "JavaScript", "Ruby", "Haskell", "Rust",
              "Lua", "PHP", "Tcl", "OCaml", "Erlang", "Vala", "Fortran", "Lisp", "R")  # fmt: skip
_WRITTEN_IN = re.compile(
    r"\b(?:written|implemented) (?:[a-z]+ )?in (?:pure )?"
    rf"({'|'.join(map(re.escape, _LANGUAGES))})(?![\w+#/-]|\.\w)"
)
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")


def description(record: Record) -> Row | None:
    """What the first sentences are about, in one line."""
    sentences, references = record.texts("sentences"), record.texts("references")
    source = " ".join(sentences[:SENTENCES])
    return {
        "id": record.text("id"),
        "group": record.text("group", default=record.text("id")),
        "kind": "description",
        "prompt": f"{source}\nWhat is this package? {BRIEFLY}",
        "source": source,
        "references": references,
        "origin": record.text("origin", default=""),
    }


def language(record: Record) -> Row | None:
    """In which programming language something is written; None where it does not say."""
    for sentence in record.texts("sentences"):
        found = _WRITTEN_IN.search(sentence)
        if found:
            return {
                "id": f"{record.text('id')}-language",
                "group": record.text("group", default=record.text("id")),
                "kind": "question",
                "prompt": f"{sentence}\nWhich programming language is it written in? {BRIEFLY}",
                "source": sentence,
                "references": [found[1]],
                "origin": record.text("origin", default=""),
            }
    return None


def question(record: Record) -> Row | None:
    """A question on a passage, of which the prompt holds the sentences around the answer."""
    context, answers = record.text("context"), record.texts("answers")
    start = record.integer("answer_start")
    if not answers:
        raise record.fault("answers", "expected one text or more, got none")
    if start < 0 or not context.startswith(answers[0], start):
        raise record.fault("answer_start", f"at {start} the context does not hold {answers[0]!r}")
    source = around(context, start, start + len(answers[0]))
    return {
        "id": record.text("id"),
        "group": record.text("title", default=record.text("id")),
        "kind": "question",
        "prompt": f"{source}\n{record.text('question')} {BRIEFLY}",
        "source": source,
        "references": list(dict.fromkeys(answers)),
        "origin": record.text("origin", default=""),
    }


def copy(record: Record) -> Row | None:
    """A sentence that is to be said again, word for word; None where none has the length."""
    for sentence in record.texts("sentences"):
        if COPIED[0] <= len(sentence) <= COPIED[1] and '"' not in sentence:
            return {
                "id": f"{record.text('id')}-copy",
                "group": record.text("group", default=record.text("id")),
                "kind": "copy",
                "prompt": f'Quote the following text without any change:\n"{sentence}"',
                "source": sentence,
                "references": [sentence],
                "origin": record.text("origin", default=""),
            }
    return None


def words(record: Record) -> Row | None:
    """Ten words on what something is about; no answer is the right one."""
    topic = record.texts("references")[0].rstrip(".")
    return {
        "id": f"{record.text('id')}-list",
        "group": record.text("group", default=record.text("id")),
        "kind": "list",
        "prompt": f"List ten different words that have to do with {topic}.",
        "source": topic,
        "origin": record.text("origin", default=""),
    }


def keywords(record: Record) -> Row | None:
    """A sentence that holds given words; None of rows that want something else."""
    if record.text("control") != "keywords":
        return None
    target = record.get("target")
    if not isinstance(target, dict):
        raise record.fault("target", f"expected an object, got {type(target).__name__}")
    wanted = Record(f"{record.place}: target", target).texts("keywords")
    low, high = SENTENCE
    return {
        "id": record.text("id"),
        "group": record.text("group", default=record.text("id")),
        "kind": "keywords",
        "prompt": f"Write one sentence of {low} to {high} words that contains all of these words: "
        f"{', '.join(wanted)}.",
        "source": "",
        "keywords": wanted,
        "window": [low, high],
        "origin": record.text("origin", default=""),
    }


def length(record: Record) -> Row | None:
    """A sentence that is to be said in few words or in many, half of the rows each."""
    if record.text("control") != "keywords":
        return None
    name, sentence = record.text("id"), record.text("reference")
    kind, (low, high) = sorted(LENGTHS.items())[by_hash(name)[0] % len(LENGTHS)]
    return {
        "id": f"{name}-length",
        "group": record.text("group", default=name),
        "kind": kind,
        "prompt": f"Say what this is about, in {low} to {high} words:\n{sentence}",
        "source": sentence,
        "window": [low, high],
        "origin": record.text("origin", default=""),
    }


def around(text: str, start: int, end: int) -> str:
    """The whole sentences that hold the characters from `start` to `end`."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    first = max((place for place in ends if place <= start), default=0)
    last = min((place for place in ends if place >= end), default=len(text))
    return text[first:last].strip()


def by_hash(name: str) -> bytes:
    """What rows are ordered and parted by."""
    return hashlib.sha256(name.encode()).digest()


SOURCES: Mapping[str, Callable[[Record], Row | None]] = {
    "descriptions": description,
    "languages": language,
    "copies": copy,
    "lists": words,
    "keywords": keywords,
    "lengths": length,
    "questions": question,
}
