/**
 * What an episode made as a whole: the text it wrote in pieces, or the sentences it picked from a
 * document, where its task has registered that its steps do so.
 */

import { h, panel, pressable } from "./dom.js";
import { number, own, short, signed } from "./format.js";
import { INKS, painter } from "./painting.js";

/** What is shown unless the task says otherwise. */
const DEFAULT = { texts: [{ title: "Reference", field: "reference" }], scales: [] };

/** What a written piece can be coloured by, besides the scales of its task. */
const WAYS = {
  setting: { title: "chosen setting", of: (step) => step.action_name, ink: INKS.names },
  expert: {
    title: "as the expert or not",
    of: (step) =>
      step.expert_action === null ? null : asExpert(step) ? "as the expert" : "not as the expert",
    ink: INKS.names,
    all: ["as the expert", "not as the expert"],
  },
  reward: { title: "reward", of: (step) => step.reward, ink: INKS.twoSided },
  advantage: { title: "advantage", of: (step) => step.advantage, ink: INKS.twoSided },
};

/**
 * The panel of the episode; null where its steps are all there is to see.
 * @param {(i: number) => void} show goes to a step.
 */
export function renderedEpisode(ctx, { steps, renderer }, show) {
  const view = renderer ?? DEFAULT;
  const texts = textsOf(steps, view.texts);
  if (steps.filter((step) => step.text).length > 1)
    return writtenText(ctx, steps, view, texts, show);
  const sentences = own(steps[0]?.observation, view.sentences);
  if (Array.isArray(sentences)) return pickedSentences(steps, sentences, texts);
  return renderer && texts.length ? panel("Texts", texts) : null;
}

function writtenText(ctx, steps, { scales }, texts, show) {
  const names = ctx.info.actions ?? [];
  const scaled = scales.map((scale) => [
    spelled(scale.title),
    {
      title: scale.title,
      of: (step) => (step.text ? numberOf(step.action_name, scale) : null),
      ink: INKS.heat,
      all: names.map((name) => numberOf(name, scale)).filter((value) => value !== null),
    },
  ]);
  const setting = { ...WAYS.setting, all: names };
  const paint = painter(ctx, "paint", { ...Object.fromEntries(scaled), ...WAYS, setting }, steps);
  const pieces = steps.map((step, i) => step.text && piece(step, i, paint.style(step), show));
  return panel(
    "What the episode wrote",
    paint.control,
    h("div", { class: "prose written" }, pieces),
    texts,
  );
}

const spelled = (title) => title.replaceAll(" ", "-");

/** What a setting's name, as "T 0.7, p 0.9", says of a scale. */
function numberOf(name, { part, otherwise, named }) {
  if (Object.hasOwn(named, name)) return named[name];
  const found = String(name).split(", ").find((one) => one.startsWith(`${part} `));
  const value = Number(found?.slice(part.length + 1) || NaN);
  return Number.isFinite(value) ? value : otherwise;
}

function piece(step, i, style, show) {
  const title =
    `step ${i + 1}: ${step.action_name}\n` +
    `reward ${signed(step.reward)}, value ${number(step.value)}` +
    (step.expert_name ? `\nexpert: ${step.expert_name}` : "");
  return h("span", { class: "piece press", style, title, ...pressable(() => show(i)) }, step.text);
}

function pickedSentences(steps, sentences, texts) {
  const pickedAt = (i) => steps.findIndex((step) => step.action === i);
  const wanted = (i) => steps.some((step) => step.expert_action === i);
  const lines = sentences.map((sentence, i) => {
    const at = pickedAt(i);
    const signs = [
      at >= 0 && h("span", { class: "tag picked" }, `pick ${at + 1}, ${signed(steps[at].reward)}`),
      wanted(i) && h("span", { class: "tag expert" }, "\u25c6 expert"),
    ];
    return h("li", { class: at >= 0 ? "prose picked" : "prose" }, sentence, signs);
  });
  const chosen = sentences.filter((_, i) => pickedAt(i) >= 0).length;
  return panel(
    `What was picked: ${chosen} of ${sentences.length} sentences`,
    h("ol", { class: "document", start: "0" }, lines),
    texts,
  );
}

/** Texts that the reward was given, as the last step that has them says. */
function textsOf(steps, texts) {
  const told = ({ field }) =>
    steps.map((step) => own(step.reward_inputs, field)).findLast((text) => typeof text === "string");
  return texts
    .filter((one) => told(one))
    .map((one) =>
      h("p", { class: "told" }, h("span", { class: "label" }, one.title), short(told(one), 2000)),
    );
}

const asExpert = (step) => JSON.stringify(step.action) === JSON.stringify(step.expert_action);
