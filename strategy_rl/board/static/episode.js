/**
 * One episode, step by step.
 */

import { ask } from "./api.js";
import { lines, room } from "./charts.js";
import { h, link, panel } from "./dom.js";
import { known, moment, number, plural, probability, signed, whole } from "./format.js";
import { neighbours } from "./neighbours.js";
import { marksLegend } from "./options.js";
import { renderedEpisode } from "./renderers.js";
import { stepList } from "./steps.js";
import { waterfall } from "./waterfall.js";

export async function episode(ctx) {
  const { run, key } = ctx.params;
  const [found, around] = await Promise.all([ask("episode", { run, key }), neighbours(ctx.params)]);
  const { head, steps } = found;
  const cards = stepList(ctx, found);
  const node = h(
    "div",
    { class: "episode" },
    bar(ctx, head, around),
    facts(found),
    found.scaled_values && scaledNote(),
    steps.length > 1 &&
      h("div", { class: "overview" }, valuePanel(found, cards.show), rewardPanel(head)),
    renderedEpisode(ctx, found, cards.show),
    h("div", { class: "row spread" }, h("h2", {}, "Steps"), marksLegend()),
    cards.node,
  );
  return { node, keys: episodeKeys(ctx, around) };
}

const scaledNote = () =>
  h(
    "p",
    { class: "muted scaled" },
    "Trained with ppo.normalize_rewards: values are in units of scaled rewards, so no return or " +
      "advantage is computed beside them.",
  );

const toList = (ctx) => ctx.go({ view: "episodes" });

function episodeKeys(ctx, around) {
  const open = (place) => () => place && ctx.go(place);
  return { j: open(around?.next), k: open(around?.previous), Escape: () => toList(ctx) };
}

function bar(ctx, head, around) {
  const step = (label, place) =>
    h("button", { disabled: !place, onclick: () => ctx.go(place) }, label);
  return h(
    "div",
    { class: "pager" },
    link(ctx.href({ view: "episodes" }), () => toList(ctx), {}, "\u2190 Episodes"),
    h("strong", {}, known(head.row) ? `row ${whole(head.row)}` : head.episode_id),
    h(
      "span",
      {},
      [head.kind, head.policy, head.split, moment(head)].filter(Boolean).join(" \u00b7 "),
    ),
    around && [
      h("span", { class: "push muted" }, `${whole(around.place + 1)} of ${whole(around.total)}`),
      step("Previous (k)", around.previous),
      step("Next (j)", around.next),
    ],
  );
}

function facts({ head, gamma, gae_lambda: lambda, final_value: after }) {
  const shown = [
    ["return", signed(head.return)],
    ["steps", whole(head.length)],
    ["ended", head.terminated ? "terminated" : "truncated"],
    ["V after the cut", head.terminated || after === null ? null : number(after)],
    ["kept as", head.selection && keptAs(head.selection)],
    ["|V\u2212R|", head.value_error === null ? null : number(head.value_error)],
    ["least p", head.least_probability === null ? null : probability(head.least_probability)],
    ["\u03b3", number(gamma, 2)],
    ["\u03bb", number(lambda, 2)],
    ["group", head.group],
    ["id", head.episode_id],
  ];
  return h(
    "div",
    { class: "facts" },
    shown.map(([name, value]) => value !== null && h("span", {}, h("em", {}, name), value)),
  );
}

function keptAs({ reasons, num_episodes: count, mean_return: mean }) {
  const of = count === null ? "its rollout" : plural(count, "episode");
  const worth = mean === null ? "" : ` with mean return ${signed(mean)}`;
  return `${reasons.join(", ")} of ${of}${worth}`;
}

function valuePanel({ steps, scaled_values: scaled }, show) {
  const series = (name, style, field) => ({
    name,
    style,
    points: steps.map((step, i) => ({
      x: i + 1,
      y: step[field] ?? null,
      title: `step ${i + 1}: ${name} ${number(step[field])}`,
      onclick: () => show(i),
    })),
  });
  const every = Math.ceil(steps.length / 10);
  const ticks = steps.map((_, i) => ({ x: i + 1, label: i + 1 })).filter((_, i) => i % every === 0);
  const value = series("value", "var(--hue-0)", "value");
  const rest = series("return to go", "var(--hue-1)", "return_to_go");
  const valued = steps.some((step) => known(step.value));
  const drawn = !valued ? [rest] : scaled ? [value] : [value, rest];
  return panel(
    valued && scaled ? "Value" : "Value against return to go",
    lines({ width: room(2), height: 190, ticks, series: drawn }),
    !valued &&
      h("p", { class: "muted" }, "This policy has no value head, or its values were not recorded."),
  );
}

function rewardPanel(head) {
  const parts = Object.entries(head.components ?? {}).map(([name, adds]) => ({
    name,
    adds: adds ?? 0,
  }));
  return panel(
    `Return by component, over ${plural(head.length, "step")}`,
    waterfall(parts, head.return, "return"),
  );
}
