/**
 * The tokens of a written action, coloured by one of their numbers.
 */

import { h } from "./dom.js";
import { known, number, NOTHING } from "./format.js";
import { INKS, painter } from "./painting.js";

/** What tokens can be coloured by. */
const WAYS = {
  logprob: { title: "log-prob", of: (token) => token.logprob, ink: INKS.unlikely },
  advantage: { title: "advantage", of: (token) => token.advantage, ink: INKS.twoSided },
  kl: {
    title: "log-prob less the reference\u2019s",
    of: (token) => difference(token.logprob, token.reference_logprob),
    ink: INKS.twoSided,
  },
  value: { title: "value", of: (token) => token.value, ink: INKS.twoSided },
};

export function tokenView(ctx, tokens) {
  const paint = painter(ctx, "colour", WAYS, tokens);
  return h(
    "div",
    { class: "tokens" },
    paint.control,
    h(
      "div",
      { class: "prose" },
      tokens.map((token) => tokenSpan(token, paint.style(token))),
    ),
  );
}

function tokenSpan(token, style) {
  const lines = Object.values(WAYS).map(
    ({ title, of }) => known(of(token)) && `${title} ${number(of(token))}`,
  );
  const shown = token.text.replaceAll("\n", "\u21b5\n");
  return h(
    "span",
    { class: "token", style, title: lines.filter(Boolean).join("\n") || NOTHING },
    shown,
  );
}

const difference = (one, other) => (known(one) && known(other) ? one - other : null);
