"""Prompts to tokens, tokens to texts. Knows a tokenizer, no model.

What looks like a control token inside a prompt stays text: the parts of a chat template are read
with control tokens, what the prompt says without.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from strategy_rl_envs.decoding_control.targets import Target, spelled
from strategy_rl_envs.kit.errors import SettingError, one_of

TEMPLATES = ("auto", "chat", "plain")
_MARK = "\u27e6prompt\u27e7"
_SENTENCE_ENDS = (".", "!", "?", "\u2026", "\u3002", "\uff01", "\uff1f")
_CLOSING = " \n\t\"')]\u201d\u2019\u00bb\u300d\u300f\uff09"
_WORD_MARKS = ("\u0120", "\u2581")  # a space before, in byte-level and in sentencepiece tokens


class Reader:
    """Reads prompts for a model and its texts for people.

    Args:
        tokenizer: Of transformers.
        template: `chat` for the model's own chat template, `plain` for the prompt as it is; `auto`:
            `chat` where there is one.

    Raises:
        SettingError: The template is none of these, or the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: Any, template: str = "auto") -> None:
        one_of("template", template, TEMPLATES)
        self._tokenizer = tokenizer
        has_template = bool(getattr(tokenizer, "chat_template", None))
        if template == "chat" and not has_template:
            raise SettingError(
                "template: got 'chat', but the model has no chat template; expected plain or auto"
            )
        self._chats = template != "plain" and has_template
        self._in_parts = self._chats and self._parts_suffice()

    def prompt(self, text: str) -> tuple[int, ...]:
        """Token ids of a prompt, one at least.

        Raises:
            SettingError: There is none, and the tokenizer knows nothing that could stand for it.
        """
        text = _encodable(text)
        if not self._chats:
            found = self._tokenizer(text, split_special_tokens=True)["input_ids"]
            return tuple(found) or (self._blank(),)
        if self._in_parts:
            return tuple(self._parts(text))
        return tuple(self._controlled(self._rendered(self._tamed(text))))

    def text(self, tokens: Iterable[int]) -> str:
        """What was written, without control tokens."""
        found: str = self._tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return found

    def target(self, keywords: Iterable[str], window: tuple[int, int] | None) -> Target:
        """What a text is to reach, in tokens."""
        found = (spelled(_encodable(word), self._plain) for word in keywords)
        return Target(tuple(found), window)

    def _parts(self, text: str) -> list[int]:
        before, _, after = self._rendered(_MARK).partition(_MARK)
        return [*self._controlled(before), *self._plain(text), *self._controlled(after)]

    def _rendered(self, content: str) -> str:
        from jinja2 import TemplateError

        turns = [{"role": "user", "content": content}]
        try:
            found: str = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise SettingError(
                f"template: the model's chat template refuses a single user turn: {error}; "
                "set it to plain"
            ) from error
        return found

    def _parts_suffice(self) -> bool:
        """Whether this tokenizer gives the same ids part by part; some put a space before each."""
        text = "Hello, how are you?"
        return self._parts(text) == self._controlled(self._rendered(text))

    def _controlled(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def _plain(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
        return found

    def _tamed(self, text: str) -> str:
        """Without control tokens, for tokenizers that must read a prompt whole."""
        added = self._tokenizer.added_tokens_decoder.values()
        control = [token.content for token in added if token.special]
        while any(token in text for token in control):  # taking one out may make another
            for token in control:
                text = text.replace(token, "")
        return text

    def _blank(self) -> int:
        """What stands for a prompt without tokens."""
        known = (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id)
        found = next((token for token in known if token is not None), None)
        if found is None:
            raise SettingError("a prompt is empty, and the tokenizer has no begin or end token")
        return int(found)


class TokenFacts:
    """What single tokens say, looked up once each.

    Args:
        tokenizer: Of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, tuple[bool, bool]] = {}

    def ends_sentence(self, token: int) -> bool:
        """Whether it closes with the mark of a sentence's end; quotes may stand behind."""
        return self._facts(token)[0]

    def begins_word(self, token: int) -> bool:
        """Whether it begins with a space."""
        return self._facts(token)[1]

    def _facts(self, token: int) -> tuple[bool, bool]:
        if token not in self._known:
            text = self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
            written = str(self._tokenizer.convert_ids_to_tokens(token) or "")
            self._known[token] = (
                text.rstrip(_CLOSING).endswith(_SENTENCE_ENDS),
                written.startswith(_WORD_MARKS) or text[:1].isspace(),
            )
        return self._known[token]


def _encodable(text: str) -> str:
    """Tokenizers refuse lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
