/**
 * Before and after: two policies or runs on the same rows.
 */

import { ask } from "./api.js";
import { bar } from "./charts.js";
import { empty, h, pressable, table } from "./dom.js";
import { counted, known, NOTHING, plural, short, signed, whole } from "./format.js";
import { rowKeys } from "./keys.js";
import { pageButtons } from "./pages.js";
import { pairDetail } from "./pair.js";
import { sampleNote } from "./sample.js";
import { sideControls, sidesOf } from "./sides.js";

const SIZE = 100;

export async function compare(ctx) {
  const asked = sidesOf(ctx);
  const controls = sideControls(ctx, asked);
  if (!asked.policy_a || !asked.policy_b) {
    return {
      node: h(
        "div",
        {},
        controls,
        empty(
          "There is nothing to compare yet.",
          "Evaluate two policies on the same rows, e.g. sft and ppo, or choose another run.",
        ),
      ),
    };
  }
  const page = Number(ctx.params.page ?? 0);
  const found = await ask("compare", { ...asked, page, size: SIZE });
  const open = found.pairs.find((pair) => nameOf(pair) === ctx.params.pair);
  const body = open ? await opened(ctx, asked, open) : list(ctx, asked, found);
  const selected = found.pairs.some((pair) => pair.a.selection || pair.b.selection);
  const note = selected && sampleNote(ctx);
  const node = h("div", {}, controls, summary(ctx, found), note, body);
  const show = (pair) => ctx.go({ pair });
  return { node, keys: rowKeys(found.pairs.map(nameOf), ctx.params.pair, show) };
}

const nameOf = (pair) => `${pair.a.key}:${pair.b.key}`;

function summary(ctx, found) {
  return h(
    "div",
    { class: "pager" },
    h(
      "span",
      { class: "total" },
      `${plural(found.rows_in_common, "row")} in common, ${whole(found.changed)} changed`,
    ),
    h("span", {}, "mean difference ", h("strong", {}, signed(found.mean_difference))),
    pageButtons(ctx, found),
  );
}

function list(ctx, asked, found) {
  if (found.rows_in_common === 0)
    return empty(
      "These two have no row in common.",
      "Choose another split, or evaluate both policies on the same rows.",
    );
  if (found.pairs.length === 0)
    return empty(
      "No row changed.",
      "Both policies took the same actions everywhere; take the tick away to see all rows.",
    );
  const most = Math.max(...found.pairs.map((pair) => Math.abs(pair.difference)));
  const titles = [
    ["row"],
    ["kind", "text"],
    ["before"],
    ["after"],
    ["difference"],
    [""],
    ["first change"],
    ...["a", "b"].map((side) => [`${sideName(asked, side)}: actions`, "text"]),
  ];
  const rows = found.pairs.map((pair) => line(ctx, pair, most));
  return h("div", { class: "scroll" }, table({ class: "list" }, titles, rows));
}

const sideName = (asked, side) =>
  [asked[`policy_${side}`], asked[`iteration_${side}`]].filter(known).join(" ");

function line(ctx, pair, most) {
  const open = () => ctx.go({ pair: nameOf(pair) });
  const first = known(pair.first_change) ? `step ${pair.first_change + 1}` : NOTHING;
  return h(
    "tr",
    { class: "press", ...pressable(open) },
    h("td", {}, whole(pair.row)),
    h("td", { class: "text name" }, pair.kind ?? NOTHING),
    h("td", {}, signed(pair.a.return)),
    h("td", {}, signed(pair.b.return)),
    h("td", {}, signed(pair.difference)),
    h("td", { class: "bar-cell" }, bar(pair.difference, most)),
    h("td", {}, first),
    h("td", { class: "text" }, short(counted(pair.a.actions), 60)),
    h("td", { class: "text" }, short(counted(pair.b.actions), 60)),
  );
}

async function opened(ctx, asked, pair) {
  const back = h("button", { onclick: () => ctx.go({ pair: null }) }, "\u2190 All rows");
  const title = h(
    "div",
    { class: "pager" },
    back,
    h("strong", {}, `row ${whole(pair.row)}`),
    pair.kind ?? "",
    h("span", {}, `difference ${signed(pair.difference)}`),
    h("span", { class: "hint" }, "j / k other rows, Escape all rows"),
  );
  const detail = await pairDetail(
    ctx,
    { run: asked.run_a, key: pair.a.key },
    { run: asked.run_b, key: pair.b.key },
  );
  return h("div", {}, title, detail);
}
