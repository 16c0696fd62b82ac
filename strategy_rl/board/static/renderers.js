/**
 * What an episode made as a whole: the text it wrote, or the sentences it picked from a document.
 *
 * Chosen by the shape of what was recorded, so that any task's episodes can be read; a task may
 * register where the parts lie.
 */

import { ask } from "./api.js";
import { palette, twoSided } from "./colours.js";
import { choice, h, panel, pressable } from "./dom.js";
import { number, short, signed } from "./format.js";

/** What a written piece can be coloured by: title, and the number or name of a step. */
const COLOURS = {
  setting: ["chosen setting", (step) => step.action_name],
  expert: [
    "as the expert or not",
    (step) => (asExpert(step) ? "as the expert" : "not as the expert"),
  ],
  reward: ["reward", (step) => step.reward],
  advantage: ["advantage", (step) => step.advantage],
};

/**
 * Where the parts lie, unless the task's own renderer says otherwise: the sentences in the
 * observation, the reference in what the reward was given.
 */
const FIELDS = { sentences: "candidates", reference: "reference" };

/** The panel of the episode; null where its steps are all there is to see. */
export async function renderedEpisode(ctx, steps) {
  if (steps.filter((step) => step.text).length > 1) return writtenText(ctx, steps);
  const own = await ownFields(steps[0]?.renderer);
  const fields = { ...FIELDS, ...own };
  const sentences = sentencesOf(steps, fields, "sentences" in own);
  return sentences && pickedSentences(steps, sentences, fields);
}

/** What the task registered, as data. */
async function ownFields(name) {
  if (!name) return {};
  const { renderers } = await ask("renderers");
  return renderers.find((one) => one.name === name)?.fields ?? {};
}

function writtenText(ctx, steps) {
  const there = Object.entries(COLOURS).filter(([, [, of]]) =>
    steps.some((step) => of(step) !== null && of(step) !== undefined),
  );
  const name = there.some(([one]) => one === ctx.params.paint) ? ctx.params.paint : "setting";
  const pick = choice(
    "paint",
    "colour by",
    there.map(([one, [title]]) => [one, title]),
    name,
    (paint) => ctx.go({ paint }, { replace: true }),
  );
  const of = COLOURS[name][1];
  const values = steps.map(of);
  const named = typeof values[0] === "string";
  const colour = named ? palette(ctx.info.actions ?? []) : null;
  const most = named ? 0 : Math.max(1e-9, ...values.map((value) => Math.abs(value ?? 0)));
  const pieces = steps.map(
    (step, i) =>
      step.text &&
      piece(
        step,
        i,
        named
          ? { "border-bottom": `3px solid ${colour(values[i])}` }
          : { background: twoSided(values[i], most) },
      ),
  );
  return panel(
    "What the episode wrote",
    h("div", { class: "row" }, pick, named && legend([...new Set(values)], colour)),
    h("div", { class: "prose written" }, pieces),
  );
}

function piece(step, i, style) {
  const title =
    `step ${i + 1}: ${step.action_name}\n` +
    `reward ${signed(step.reward)}, value ${number(step.value)}` +
    (step.expert_name ? `\nexpert: ${step.expert_name}` : "");
  const show = () => document.getElementById(`step-${i}`)?.scrollIntoView({ block: "start" });
  return h("span", { class: "piece press", style, title, ...pressable(show) }, step.text);
}

function legend(names, colour) {
  return h(
    "span",
    { class: "legend" },
    names.map((name) =>
      h("span", {}, h("i", { class: "swatch", style: { background: colour(name) } }), name),
    ),
  );
}

/** The sentences, where every step offers the same ones or the task says that they are some. */
function sentencesOf(steps, fields, surely) {
  const [first, ...others] = steps.map((step) => step.observation?.[fields.sentences]);
  if (!Array.isArray(first)) return null;
  const same = (other) => JSON.stringify(other) === JSON.stringify(first);
  return surely || (others.length > 0 && others.every(same)) ? first : null;
}

function pickedSentences(steps, sentences, fields) {
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
  const chosen = steps.filter(
    (step) => Number.isInteger(step.action) && step.action < sentences.length,
  ).length;
  return panel(
    `What was picked: ${chosen} of ${sentences.length} sentences`,
    h("ol", { class: "document", start: "0" }, lines),
    reference(steps, fields.reference),
  );
}

function reference(steps, field) {
  const given = steps
    .map((step) => step.reward_inputs?.[field])
    .find((text) => typeof text === "string");
  return given && h("p", { class: "muted" }, "Reference: ", short(given, 600));
}

const asExpert = (step) => JSON.stringify(step.action) === JSON.stringify(step.expert_action);
