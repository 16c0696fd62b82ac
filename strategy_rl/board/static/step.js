/**
 * One step of an episode: numbers, choices, reward, texts.
 */

import { h } from "./dom.js";
import { fieldList, firstText } from "./fields.js";
import { known, number, short, signed } from "./format.js";
import { optionTable, said } from "./options.js";
import { tokenView } from "./tokens.js";
import { partsOf, waterfall } from "./waterfall.js";

const NUMBERS = [
  ["r", "reward", "reward", signed],
  ["V", "value", "value before the step", number],
  ["G", "return_to_go", "discounted return from here", number],
  ["A", "advantage", "advantage (GAE)", signed],
  ["H", "entropy", "entropy of the policy, in nats", number],
  ["KL", "kl", "KL to the reference, in nats", number],
];

/**
 * @param {{steps: object[], renderer: object | null}} episode
 * @param {number} i the step's place in it, from 0; what stayed the same is not shown again.
 */
export function stepCard(ctx, { steps, renderer }, i) {
  const step = steps[i];
  const wrote = step.text ?? (typeof step.action === "string" ? step.action : null);
  return h(
    "article",
    { class: "step", id: `step-${i}` },
    h(
      "h3",
      {},
      h("span", { class: "place" }, `Step ${i + 1}`),
      h("span", { class: "name" }, short(step.action_name, 60)),
      agreement(step),
      h(
        "span",
        { class: "figures" },
        NUMBERS.map((one) => figure(step, one)),
      ),
    ),
    h(
      "div",
      { class: "columns" },
      h(
        "div",
        {},
        optionTable(step, renderer?.factors ?? []),
        wrote !== null && !step.tokens?.length && written(wrote),
        step.tokens?.length ? tokenView(ctx, step.tokens) : null,
      ),
      h("div", {}, waterfall(partsOf(step), step.reward, "reward")),
    ),
    seen(step, i, steps[i - 1]),
    fold("What the reward was given", step.reward_inputs),
  );
}

function figure(step, [sign, name, meaning, show]) {
  const value = step[name];
  return known(value) && h("span", { title: meaning }, h("em", {}, sign), show(value));
}

function agreement(step) {
  if (!known(step.expert_action) || typeof step.expert_action === "string") return null;
  const agrees = JSON.stringify(step.expert_action) === JSON.stringify(step.action);
  return h(
    "span",
    { class: agrees ? "tag" : "tag differs" },
    agrees
      ? "as the expert"
      : `expert: ${short(said(step, step.expert_action, step.expert_name), 40)}`,
  );
}

const written = (text) =>
  h(
    "div",
    { class: "wrote" },
    h("span", { class: "label" }, "wrote"),
    h("div", { class: "prose" }, text || "(nothing)"),
  );

function seen(step, i, before) {
  const now = step.observation ?? {};
  const old = before?.observation ?? {};
  const same = Object.keys(now).filter(
    (name) => Object.hasOwn(old, name) && JSON.stringify(now[name]) === JSON.stringify(old[name]),
  );
  const fresh = Object.fromEntries(Object.entries(now).filter(([name]) => !same.includes(name)));
  const texts = Object.values(fresh).some((value) => firstText(value));
  return fold(
    "Observation",
    fresh,
    texts && i === 0,
    same.length ? `as before: ${same.join(", ")}` : "",
  );
}

function fold(title, fields, open = false, note = "") {
  if (!fields || Object.keys(fields).length === 0) return null;
  const preview = short(firstText(fields), 110);
  return h(
    "details",
    { open },
    h("summary", {}, title, h("span", { class: "muted" }, preview && ` \u2013 ${preview}`)),
    fieldList(fields),
    note && h("p", { class: "muted" }, note),
  );
}
