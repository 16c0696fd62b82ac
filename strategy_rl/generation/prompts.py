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
from strategy_rl.policy.spaces import INSIDE, MASK

DIALOGUE = ("context", "turns")  # fields whose texts take turns, the last to be answered


@dataclass(frozen=True)
class PromptFormat:
    """How an observation becomes a prompt.

    Attributes:
        template: `chat` for the model's own chat template, `plain` for the text as it is; `auto`:
            `chat` where there is one.
        system: The system message of a chat, and the first line of a plain prompt; None: what the
            template says without one.
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
        return _encodable(text)[:max_length]

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """What each token adds to the text, control tokens by their names.

        A token that ends inside a character adds nothing; the one that ends it adds it whole.
        """
        texts = []
        first = done = 0  # what was decoded last begins at `first`, and all before `done` is told
        for end in range(1, len(ids) + 1):
            before, now = self._decoded(ids[first:done]), self._decoded(ids[first:end])
            whole = end == len(ids) or not now.endswith("\ufffd")
            texts.append(_encodable(now[len(before) :]) if whole else "")
            if whole and len(now) > len(before):
                first, done = done, end
        return texts

    def _decoded(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
        return text

    def _encode(self, messages: list[Message]) -> list[int]:
        if self.form.system is not None:
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
        while len(kept) - first > 1 and len(self._ids(kept)) > self.form.max_tokens:
            del kept[first : min(first + 2, len(kept) - 1)]
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
                f"{frame} tokens, system message included; raise it"
            )
        for size in range(min(room, len(content)), 0, -1):  # a cut text may take a token more
            cut: str = self.tokenizer.decode(content[:size], clean_up_tokenization_spaces=False)
            whole = cut.removesuffix("\ufffd")  # half a character
            ids = self._ids([*earlier, Message(last.role, whole)])
            if len(ids) <= self.form.max_tokens:
                return ids
        return self._ids([*earlier, Message(last.role, "")])

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        if not self._chats:
            text = "\n".join(message.content for message in messages)
            ids: list[int] = self.tokenizer(_encodable(text), split_special_tokens=True)[
                "input_ids"
            ]
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
        from jinja2 import TemplateError

        try:
            text: str = self.tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise ModelError(
                f"the model's chat template refuses the turns {roles}: {error}; set "
                "generation.system to null, or generation.template to plain"
            ) from error
        return text

    def _controlled(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(
            _encodable(text), add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
        return ids

    def _tamed(self, message: Message) -> str:
        """A content without the control tokens, for tokenizers that must read a prompt whole."""
        added = self.tokenizer.added_tokens_decoder.values()
        control = [token.content for token in added if token.special]
        text = _encodable(message.content)
        while any(token in text for token in control):  # taking one out may make another
            for token in control:
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
    texts and numbers stand before the last of them, a line each. What is inside a Dict or Tuple
    is named as `a/b`.

    Raises:
        InputError: There is no text in it.
    """
    if isinstance(observation, str):
        return [Message("user", observation)]
    if _are_texts(observation) and observation:
        return _turns(observation)
    whole = observation if isinstance(observation, Mapping) else {}
    dialogue = next((name for name in DIALOGUE if _are_texts(whole.get(name))), None)
    turns = [] if dialogue is None else list(whole[dialogue])
    fields = [(n, v) for n, v in _fields("", observation) if n not in (dialogue, MASK)]
    texts = [value for _, value in fields if isinstance(value, str) or _are_texts(value)]
    if dialogue is None and not texts:
        raise InputError(
            f"an observation is {shorten(observation)}, and there is no text in it for a policy "
            "that writes; give a text, or a Dict with one"
        )
    if dialogue is None and len(fields) == 1 and isinstance(texts[0], str):
        return [Message("user", texts[0])]
    *earlier, last = turns or [""]
    lines = [f"{name}: {_said(value)}" for name, value in fields]
    return _turns([*earlier, "\n".join([*lines, last] if last else lines)])


def _turns(texts: Sequence[str]) -> list[Message]:
    """Turns by turns, so that the last is the user's."""
    roles: tuple[Literal["user"], Literal["assistant"]] = ("user", "assistant")
    count = len(texts)
    return [Message(roles[(count - 1 - i) % 2], text) for i, text in enumerate(texts)]


def _are_texts(value: Any) -> bool:
    """Whether it is a list of texts, which may be empty."""
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _fields(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Texts, lists of texts and numbers with their names; empty lists are left out."""
    if isinstance(value, Mapping):
        inner = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple) and not (value and _are_texts(value)):
        inner = [(str(place), item) for place, item in enumerate(value)]
    else:
        yield name, value
        return
    for key, item in inner:
        yield from _fields(name + INSIDE + key if name else key, item)


def _said(value: Any) -> str:
    """A field as one line; the rows of a table are parted by semicolons."""
    if isinstance(value, str):
        return value
    if _are_texts(value):
        return " | ".join(value)
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, list):
        parting = "; " if any(isinstance(item, list) for item in plain) else ", "
        return parting.join(map(_said, plain))
    if isinstance(plain, int):
        return str(int(plain))
    return f"{plain:g}" if isinstance(plain, float) else str(plain)


def _encodable(text: str) -> str:
    """A text that tokenizers accept: lone surrogates become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
