"""Observations to prompts, texts to tokens and back. Knows a tokenizer, no model.

What looks like a control token inside a text stays text: the template's own parts are read with
control tokens, what users and environments say without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from strategy_rl.config import shorten
from strategy_rl.errors import InputError, ModelError
from strategy_rl.policy.spaces import MASK

DIALOGUE = ("context", "turns")  # fields whose texts take turns, the last to be answered


@dataclass(frozen=True)
class PromptFormat:
    """How an observation becomes a prompt.

    Attributes:
        template: `chat` for the model's own chat template, `plain` for the text as it is; `auto`:
            `chat` where there is one.
        system: The system message of a chat; None: what the template says without one.
        max_tokens: The most tokens of a prompt.
    """

    template: Literal["auto", "chat", "plain"] = "auto"
    system: str | None = None
    max_tokens: int = 512


class Message(NamedTuple):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class PromptEncoder:
    """Reads observations for a writing model.

    Attributes:
        num_truncated: How many prompts were cut so far.

    Raises:
        ModelError: A chat template is asked for, and the tokenizer has none.
    """

    def __init__(self, tokenizer: Any, form: PromptFormat) -> None:
        self.tokenizer = tokenizer
        self.form = form
        self.num_truncated = 0
        has_template = bool(getattr(tokenizer, "chat_template", None))
        if form.template == "chat" and not has_template:
            raise ModelError(
                "generation.template is chat, but the model has no chat template; expected plain"
            )
        self._chats = form.template != "plain" and has_template
        self._in_parts = not self._chats or self._parts_suffice()

    def encode(self, observations: Sequence[Any]) -> list[list[int]]:
        """Token ids of each prompt, at most `max_tokens` and at least one.

        Raises:
            InputError: An observation holds no text, or the template leaves no room for one.
        """
        return [self._encode(messages_of(observation)) for observation in observations]

    def encode_response(self, text: str) -> list[int]:
        """Token ids of a response, the end token last."""
        return [*self._plain(text), self.tokenizer.eos_token_id]

    def decode_response(self, ids: Sequence[int], max_length: int, charset: str | None) -> str:
        """The text of a response, without control tokens.

        Args:
            ids: Its tokens.
            max_length: Characters that are kept.
            charset: Characters that are allowed; others are left out. None: all are.
        """
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        if charset is not None:
            text = "".join(character for character in text if character in charset)
        return text.encode("utf-8", "replace").decode()[:max_length]

    def _encode(self, messages: list[Message]) -> list[int]:
        if self.form.system is not None and self._chats:
            messages = [Message("system", self.form.system), *messages]
        ids = self._ids(messages)
        if len(ids) <= self.form.max_tokens:
            return ids or [self._blank()]
        self.num_truncated += 1
        messages = self._without_oldest(messages)
        return self._cut(messages)

    def _without_oldest(self, messages: list[Message]) -> list[Message]:
        """Leave out pairs of turns, the oldest first, while the prompt is too long."""
        kept = list(messages)
        first = int(kept[0].role == "system")
        while len(kept) - first > 2 and len(self._ids(kept)) > self.form.max_tokens:
            del kept[first : first + 2]
        return kept

    def _cut(self, messages: list[Message]) -> list[int]:
        """Cut the end of the last text, never the template."""
        *earlier, last = messages
        content = self._plain(last.content)
        frame = len(self._ids([*earlier, Message(last.role, "")]))
        room = self.form.max_tokens - frame
        if room < 1:
            raise InputError(
                f"backbone.max_tokens is {self.form.max_tokens}, but the chat template alone takes "
                f"{frame} tokens; raise it"
            )
        for size in range(min(room, len(content)), 0, -1):  # a cut text may take a token more
            cut = self.tokenizer.decode(content[:size], clean_up_tokenization_spaces=False)
            ids = self._ids([*earlier, Message(last.role, cut)])
            if len(ids) <= self.form.max_tokens:
                return ids
        return self._ids([*earlier, Message(last.role, "")])

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        if not self._chats:
            text = "\n".join(message.content for message in messages)
            ids: list[int] = self.tokenizer(text, split_special_tokens=True)["input_ids"]
            return ids
        if not self._in_parts:
            return self._controlled(self._render(messages, [self._tamed(m) for m in messages]))
        return [token for part in self._parts(messages) for token in part]

    def _parts(self, messages: Sequence[Message]) -> Iterator[list[int]]:
        """The template's own parts and the contents, one by one."""
        marks = [f"\u27e6{number}\u27e7" for number in range(len(messages))]
        rest = self._render(messages, marks)
        for mark, message in zip(marks, messages, strict=True):
            before, found, after = rest.partition(mark)
            if not found:
                continue  # the template leaves this message out
            yield self._controlled(before)
            yield self._plain(message.content)
            rest = after
        yield self._controlled(rest)

    def _render(self, messages: Sequence[Message], contents: Sequence[str]) -> str:
        chat = [
            {"role": message.role, "content": content}
            for message, content in zip(messages, contents, strict=True)
        ]
        text: str = self.tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True
        )
        return text

    def _controlled(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return ids

    def _tamed(self, message: Message) -> str:
        """A content without the control tokens, for tokenizers that must read a prompt whole."""
        text = message.content
        for token in self.tokenizer.all_special_tokens:
            text = text.replace(token, "")
        return text

    def _parts_suffice(self) -> bool:
        """Whether this tokenizer gives the same ids part by part; some put a space before each."""
        chat = [
            Message("user", "Hello, how are you?"),
            Message("assistant", "Well."),
            Message("user", "Good. And then?"),
        ]
        whole = self._controlled(self._render(chat, [message.content for message in chat]))
        return [token for part in self._parts(chat) for token in part] == whole

    def _blank(self) -> int:
        """What stands for a prompt without tokens."""
        known = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return int(next(i for i in known if i is not None))


def messages_of(observation: Any) -> list[Message]:
    """The turns that an observation shows, the last to be answered.

    A text is one message. Of a Dict, the texts of `context` or `turns` take turns; all other
    texts and numbers stand before the last of them, a line each.

    Raises:
        InputError: There is no text in it.
    """
    if isinstance(observation, str):
        return [Message("user", observation)]
    if isinstance(observation, list | tuple) and all(isinstance(t, str) for t in observation):
        return _turns(observation)
    if not isinstance(observation, Mapping):
        raise InputError(
            f"an observation is {shorten(observation)}, and a policy that writes reads texts; give "
            "a text, or a Dict with texts in it"
        )
    fields = {name: value for name, value in observation.items() if name != MASK}
    dialogue = next((name for name in DIALOGUE if _are_texts(fields.get(name))), None)
    turns = list(fields.pop(dialogue)) if dialogue is not None else []
    lines = [f"{name}: {_said(value)}" for name, value in fields.items()]
    if len(fields) == 1 and not turns and isinstance(next(iter(fields.values())), str):
        return [Message("user", next(iter(fields.values())))]
    has_text = turns or any(isinstance(v, str) or _are_texts(v) for v in fields.values())
    if not has_text:
        raise InputError(
            f"an observation has the fields {', '.join(map(str, fields)) or 'none'} and no text; a "
            "policy that writes needs one"
        )
    *earlier, last = turns or [""]
    return _turns([*earlier, "\n".join([*lines, last] if last else lines)])


def _turns(texts: Sequence[str]) -> list[Message]:
    """Turns by turns, so that the last is the user's."""
    roles: tuple[Literal["user"], Literal["assistant"]] = ("user", "assistant")
    count = len(texts)
    return [Message(roles[(count - 1 - i) % 2], text) for i, text in enumerate(texts)]


def _are_texts(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(item, str) for item in value)
    )


def _said(value: Any) -> str:
    """A field as one line."""
    if isinstance(value, str):
        return value
    if _are_texts(value):
        return " | ".join(value)
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, list):
        return ", ".join(f"{number:g}" for number in plain)
    return f"{plain:g}" if isinstance(plain, int | float) else str(plain)
