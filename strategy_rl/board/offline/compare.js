/**
 * Two policies row by row. As compare.py.
 */

import { pageOf, Refused, sample, sorted } from "./select.js";

export async function compare(data, params) {
  const [a, b] = await Promise.all([side(data, params, "a"), side(data, params, "b")]);
  const pairs = [...a.rows.keys()].filter((key) => b.rows.has(key)).map((key) => pairOf(key, a, b));
  const changed = pairs.filter((pair) => pair.first_change !== null);
  const known = pairs.filter((pair) => pair.difference !== null);
  const sort = params.sort ?? "-gain";
  const columns = { gain: (pair) => pair.difference, row: (pair) => pair.row };
  const name = sort.replace(/^-/, "");
  if (!Object.hasOwn(columns, name)) throw new Refused(`sort: got '${sort}', expected gain or row`);
  const list = sorted(params.changed === "1" ? changed : pairs, columns[name], sort.startsWith("-"));
  const { shown, page } = pageOf(list, params);
  const total = known.reduce((sum, pair) => sum + pair.difference, 0);
  return {
    ...page,
    rows_in_common: pairs.length,
    changed: changed.length,
    mean_difference: known.length ? total / known.length : null,
    pairs: shown,
  };
}

/** The episodes of one side by split and row; of several on a row the last counts. */
async function side(data, params, name) {
  const run = await data.run(params[`run_${name}`]);
  const shared = { split: "split", selected: "selected" };
  const sources = { policy: `policy_${name}`, iteration: `iteration_${name}`, ...shared };
  const given = Object.entries(sources).filter(([, source]) => Object.hasOwn(params, source));
  const filters = Object.fromEntries(given.map(([filter, source]) => [filter, params[source]]));
  const entries = await sample(run, filters);
  const { names, episodes } = await run.file("decisions.json");
  const actions = (entry) => episodes[entry.place].map(([action]) => names[action]);
  const partnered = entries.filter(({ head }) => head.row !== null || head.split !== "train");
  return { rows: new Map(partnered.map((entry) => [partnerKey(entry.head), entry])), actions };
}

const partnerKey = (head) => JSON.stringify([head.split, rowOf(head)]);

function rowOf(head) {
  if (head.row !== null) return head.row;
  const end = head.episode_id.split("-").at(-1);
  return /^\d{1,9}$/.test(end) ? Number(end) : end;
}

function pairOf(key, a, b) {
  const [ours, theirs] = [a.rows.get(key), b.rows.get(key)];
  const unknown = ours.head.return === null || theirs.head.return === null;
  return {
    row: rowOf(ours.head),
    kind: theirs.head.kind,
    difference: unknown ? null : theirs.head.return - ours.head.return,
    first_change: firstChange(a.actions(ours), b.actions(theirs)),
    a: ours.head,
    b: theirs.head,
  };
}

function firstChange(ours, theirs) {
  const shorter = Math.min(ours.length, theirs.length);
  for (let step = 0; step < shorter; step++) if (ours[step] !== theirs[step]) return step;
  return ours.length === theirs.length ? null : shorter;
}
