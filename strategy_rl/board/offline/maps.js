/**
 * Which action was taken how often. As maps.py and moments.py.
 */

import { Refused } from "./select.js";

const [MAX_ACTIONS, MAX_ROWS, MAX_READ, MOST_RANGES] = [40, 200, 2000, 25];
const MAPS = ["iteration", "kind", "policy", "row", "step"];

export async function actionMap(run, selected, by) {
  if (!MAPS.includes(by)) throw new Refused(`by: got '${by}', expected one of ${MAPS.join(", ")}`);
  const moments = by === "iteration" ? momentsOf(selected.map(({ head }) => head)) : null;
  const rowFor = (head) => (moments ? moments.get(momentName(head)) : head[by]);
  const few = by === "step" || selected.length <= MAX_READ;
  const read = few ? selected.slice(0, MAX_READ) : [];
  const [taken, expert] = [new Counts(), new Counts()];
  if (read.length) {
    const { names, episodes } = await run.file("decisions.json");
    for (const { head, place } of read) {
      episodes[place].forEach(([action, wanted], step) => {
        const row = by === "step" ? step : rowFor(head);
        if (by === "step") taken.add(row, names[action], 1);
        if (wanted >= 0) expert.add(row, names[wanted], 1);
      });
    }
  }
  if (by !== "step") {
    for (const { head } of selected) {
      for (const [name, count] of Object.entries(head.actions)) taken.add(rowFor(head), name, count);
    }
  }
  const [found, actions] = [rowsOf(taken, moments), namesOf(taken, expert)];
  const rows = found.slice(0, MAX_ROWS);
  return {
    by,
    rows,
    left_out: found.length - rows.length,
    actions,
    counts: taken.table(rows, actions),
    expert_counts: expert.rows.size ? expert.table(rows, actions) : null,
    episodes: selected.length,
    read: read.length,
  };
}

const momentName = ({ stage, iteration }) => JSON.stringify([stage, iteration]);

/** The row of each stage and iteration, in the order of training; equal ranges are one object. */
function momentsOf(heads) {
  const found = new Map();
  const stages = [...new Set(heads.map((head) => head.stage))];
  stages.sort((a, b) => (a === "evaluation") - (b === "evaluation"));
  for (const stage of stages) {
    const own = heads.filter((head) => head.stage === stage).map((head) => head.iteration);
    const iterations = [...new Set(own)].filter((one) => one !== null).sort((a, b) => a - b);
    const [least, most] = [iterations[0], iterations.at(-1)];
    const size = Math.ceil((most - least + 1) / MOST_RANGES);
    const ranges = new Map();
    for (const iteration of iterations) {
      const begin = Math.floor(iteration / size) * size;
      const [first, last] = [Math.max(least, begin), Math.min(most, begin + size - 1)];
      const range = { stage, iteration: first === last ? first : `${first}-${last}` };
      if (!ranges.has(begin)) ranges.set(begin, range);
      found.set(momentName({ stage, iteration }), ranges.get(begin));
    }
    if (own.includes(null)) found.set(momentName({ stage, iteration: null }), { stage, iteration: null });
  }
  return found;
}

/** How often each name was seen, by row. */
class Counts {
  rows = new Map();
  totals = new Map();

  add(row, name, count) {
    if (!this.rows.has(row)) this.rows.set(row, new Map());
    const names = this.rows.get(row);
    names.set(name, (names.get(name) ?? 0) + count);
    this.totals.set(name, (this.totals.get(name) ?? 0) + count);
  }

  table(rows, names) {
    return rows.map((row) => {
      const line = new Array(names.length).fill(0);
      for (const [name, count] of this.rows.get(row) ?? []) {
        const place = names.indexOf(name);
        line[place < 0 ? names.length - 1 : place] += count;
      }
      return line;
    });
  }
}

function rowsOf(taken, moments) {
  const rows = [...taken.rows.keys()];
  if (moments) return [...new Set(moments.values())].filter((row) => taken.rows.has(row));
  if (rows.every((row) => row === null || typeof row === "number")) {
    rows.sort((a, b) => (a === null) - (b === null) || a - b);
  }
  return rows;
}

function namesOf(taken, expert) {
  const totals = new Map(taken.totals);
  for (const name of expert.totals.keys()) if (!totals.has(name)) totals.set(name, 0);
  const names = [...totals].sort(([, a], [, b]) => b - a).map(([name]) => name);
  return [...names.slice(0, MAX_ACTIONS).sort(), ...(names.length > MAX_ACTIONS ? ["other"] : [])];
}
