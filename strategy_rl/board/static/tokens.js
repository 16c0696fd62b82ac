/**
 * The tokens of a written action, coloured by one of their numbers.
 */

import { twoSided, wash } from "./colours.js";
import { choice, h } from "./dom.js";
import { number, NOTHING } from "./format.js";

/** What tokens can be coloured by: its title and how to read it from a token. */
const COLOURS = {
  logprob: ["log-prob", (token) => token.logprob],
  advantage: ["advantage", (token) => token.advantage],
  kl: ["KL to the reference", (token) => difference(token.logprob, token.reference_logprob)],
  value: ["value", (token) => token.value],
};

export function tokenView(ctx, tokens) {
  const there = Object.entries(COLOURS).filter(([, [, of]]) =>
    tokens.some((token) => known(of(token))),
  );
  const asked = ctx.params.colour;
  const name = there.some(([one]) => one === asked) ? asked : there[0]?.[0];
  const pick = choice(
    "token-colour",
    "colour by",
    there.map(([one, [title]]) => [one, title]),
    name,
    (colour) => ctx.go({ colour }, { replace: true }),
  );
  const of = name ? COLOURS[name][1] : () => null;
  const colour = colourOf(name, tokens.map(of).filter(known));
  return h(
    "div",
    { class: "tokens" },
    h("div", { class: "row" }, pick, scaleOf(name, tokens.map(of).filter(known))),
    h(
      "div",
      { class: "prose" },
      tokens.map((token) => tokenSpan(token, colour(of(token)))),
    ),
  );
}

function colourOf(name, values) {
  const most = Math.max(1e-9, ...values.map(Math.abs));
  if (name === "logprob")
    return (value) =>
      known(value) ? wash("var(--down)", (0.8 * -value) / Math.max(most, 1)) : "transparent";
  return (value) => twoSided(value, most);
}

function scaleOf(name, values) {
  if (values.length === 0)
    return h("span", { class: "muted" }, "no numbers recorded for these tokens");
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const colour = colourOf(name, values);
  const end = (value) =>
    h("span", { class: "token", style: { background: colour(value) } }, number(value, 2));
  return h("span", { class: "muted" }, "from ", end(low), " to ", end(high));
}

function tokenSpan(token, background) {
  const lines = Object.values(COLOURS).map(
    ([title, of]) => known(of(token)) && `${title} ${number(of(token))}`,
  );
  const shown = token.text.replaceAll("\n", "\u21b5\n");
  return h(
    "span",
    { class: "token", style: { background }, title: lines.filter(Boolean).join("\n") || NOTHING },
    shown,
  );
}

const known = (value) => value !== null && value !== undefined;
const difference = (one, other) => (known(one) && known(other) ? one - other : null);
