/**
 * The same rows again and again over training: a slider over the moments at which they were played.
 */

import { ask } from "./api.js";
import { twoSided } from "./colours.js";
import { choice, empty, h, table } from "./dom.js";
import { counted, moment, NOTHING, plural, short, signed, whole } from "./format.js";
import { rowKeys } from "./keys.js";
import { pairDetail } from "./pair.js";

const SIZE = 1000; // the most that the server gives at once
const CELL = 14; // pixels of a moment in a strip, where there is room
const MANY = 40; // moments, for which there is none

export async function probes(ctx) {
  const found = await ask("probes", { run: ctx.params.run });
  if (found.points.length === 0 || found.rows.length === 0) return { node: nothing() };
  const last = found.points.length - 1;
  const to = inside(ctx.params.at, last, last);
  const from = inside(ctx.params.from, last, 0);
  const heads = await probeHeads(ctx.params.run);
  const open = found.rows.find((row) => String(row.row) === ctx.params.pair);
  const body = h("div");
  let wanted = to;
  const draw = async (at) => {
    wanted = at;
    const pair = open && (await detail(ctx, open, from, at));
    if (at !== wanted) return; // the slider has moved on
    body.replaceChildren(list(ctx, found, heads, from, at), ...(pair ? [pair] : []));
  };
  await draw(to);
  const { slider, node } = controls(ctx, found.points, from, to, draw);
  const show = (pair) => ctx.go({ pair }, { replace: true });
  const rows = rowKeys(
    found.rows.map((row) => String(row.row)),
    ctx.params.pair,
    show,
  );
  const step = (by) => () => {
    slider.value = Number(slider.value) + by;
    slider.dispatchEvent(new Event("input"));
  };
  const keys = { ...rows, ArrowLeft: step(-1), ArrowRight: step(1) };
  return { node: h("div", {}, node, body), keys };
}

function nothing() {
  return empty(
    "This run has no probe rows.",
    "They are a fixed few that the policy plays every so often while it is trained.",
    " Switch them on in the configuration of the run.",
  );
}

const inside = (text, last, otherwise) =>
  text === undefined ? otherwise : Math.max(0, Math.min(last, Number(text) || 0));

/** Heads of all probe episodes by their key. */
async function probeHeads(run) {
  const heads = new Map();
  for (let page = 0, total = 1; page * SIZE < total; page++) {
    const found = await ask("episodes", { run, split: "probe", page, size: SIZE });
    found.episodes.forEach((head) => heads.set(head.key, head));
    total = found.total;
  }
  return heads;
}

/** The slider draws by itself: a drag would end if it were made anew. */
function controls(ctx, points, from, to, draw) {
  const named = (at) => `show ${moment(points[at])}`;
  const label = h("span", {}, named(to));
  const slider = h("input", {
    type: "range",
    id: "probe-at",
    min: 0,
    max: points.length - 1,
    oninput: async () => {
      const at = Number(slider.value);
      label.textContent = named(at);
      ctx.note({ at });
      await draw(at).catch(() => ctx.go({ at }, { replace: true })); // which tells what is wrong
    },
  });
  slider.value = to;
  const node = h(
    "div",
    { class: "filters" },
    h("label", { class: "control wide" }, label, slider),
    choice(
      "probe-from",
      "against",
      points.map((point, i) => [String(i), moment(point)]),
      String(from),
      (value) => ctx.go({ from: value }, { replace: true }),
    ),
    h("span", { class: "hint" }, "\u2190 / \u2192 move the slider, j / k choose a row"),
  );
  return { slider, node };
}

function list(ctx, found, heads, from, to) {
  const all = found.rows
    .flatMap((row) => row.keys.map((key) => heads.get(key)?.return))
    .filter((value) => value !== undefined);
  const most = Math.max(1e-9, ...all.map(Math.abs));
  const titles = [
    ["row"],
    ["kind", "text"],
    [`return at each of ${plural(found.points.length, "moment")}`, "text"],
    [moment(found.points[from])],
    [moment(found.points[to])],
    ["difference"],
    [`actions at ${moment(found.points[to])}`, "text"],
  ];
  const rows = found.rows.map((row) => line(ctx, found.points, row, heads, { from, to, most }));
  return h("div", { class: "scroll" }, table({ class: "list" }, titles, rows));
}

function line(ctx, points, row, heads, { from, to, most }) {
  const [before, after] = [heads.get(row.keys[from]), heads.get(row.keys[to])];
  const changed = before && after && counted(before.actions) !== counted(after.actions);
  const open = () => ctx.go({ pair: row.row });
  return h(
    "tr",
    { class: ctx.params.pair === String(row.row) ? "press selected" : "press", onclick: open },
    h("td", {}, whole(row.row)),
    h("td", { class: "text name" }, row.kind ?? NOTHING),
    h("td", { class: "text" }, strip(ctx, points, row, heads, to, most)),
    h("td", {}, signed(before?.return)),
    h("td", {}, signed(after?.return)),
    h("td", {}, before && after ? signed(after.return - before.return) : NOTHING),
    h(
      "td",
      { class: changed ? "text differs" : "text" },
      after ? short(counted(after.actions), 70) : "not played",
    ),
  );
}

function strip(ctx, points, row, heads, to, most) {
  const width = `min(${CELL * points.length}px, 36vw)`;
  return h(
    "span",
    { class: points.length > MANY ? "strip dense" : "strip", style: { width } },
    row.keys.map((key, i) => {
      const head = heads.get(key);
      const played = head && `return ${signed(head.return)}\n${counted(head.actions)}`;
      const title = `${moment(points[i])}: ${played ?? "not played"}`;
      const press = (event) => (
        event.stopPropagation(),
        ctx.go({ at: i, pair: row.row }, { replace: true })
      );
      return h("i", {
        class: i === to ? "here" : "",
        title,
        style: { background: twoSided(head?.return, most) },
        onclick: press, // the keyboard has the slider
      });
    }),
  );
}

async function detail(ctx, row, from, to) {
  const { run } = ctx.params;
  const [before, after] = [row.keys[from], row.keys[to]];
  if (before === null || after === null)
    return h("p", { class: "muted" }, `Row ${row.row} was not played at both moments.`);
  return h(
    "div",
    {},
    h("h2", { class: "pair-title" }, `Row ${whole(row.row)}`),
    await pairDetail(ctx, { run, key: before }, { run, key: after }),
  );
}
