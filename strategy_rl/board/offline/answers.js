/**
 * The answers of the plugin's routes, computed from exported files. Knows no page.
 */

const PAGE = 100;
const MAX_PAGE = 1000;
const [MAX_ACTIONS, MAX_ROWS, MAX_READ, MAX_BINS] = [40, 200, 2000, 200];
const SORTS = ["return", "value_error", "least_probability", "length", "row", "iteration"];
const MAPS = ["iteration", "kind", "policy", "row", "step"];
const COMPONENT = "component:";
const RANDOM = "random";
const REASONS = [RANDOM, "best", "worst", "surprising"];

/** A request that cannot be answered. */
export class Refused extends Error {}

const files = new Map();

/**
 * @param {(path: string) => Promise<object>} read gives a file under data/.
 * @param {string} route without a slash in front.
 * @param {Record<string, string>} params
 */
export async function answer(read, route, params) {
  if (!Object.hasOwn(ROUTES, route)) throw new Refused(`${route}: there is no such route`);
  const given = Object.entries(params).filter(([, value]) => value !== "");
  return ROUTES[route](new Data(read), Object.fromEntries(given));
}

/** The exported files, each read once. */
class Data {
  constructor(read) {
    this.read = read;
  }

  file(path) {
    if (!files.has(path)) {
      const content = this.read(path);
      files.set(path, content);
      content.catch(() => files.delete(path));
    }
    return files.get(path);
  }

  /** A run by its name: `facts` of the list, and what reads its files. */
  async run(name) {
    const { runs, chunk } = await this.file("runs.json");
    const number = runs.findIndex((run) => run.run === name);
    if (number < 0) throw new Refused(`run: no run '${name}'; choose one of the list`);
    return { file: (path) => this.file(`${number}/${path}`), chunk };
  }
}

const ROUTES = {
  runs: (data) => data.file("runs.json"),
  changed: async (data) => ({ version: (await data.file("runs.json")).version }),
  curve: async (data, params) => (await fixed(data, params)).curve,
  probes: async (data, params) => (await fixed(data, params)).probes,
  warnings: async (data, params) => (await fixed(data, params)).warnings,
  episodes: async (data, params) => {
    const { shown, page } = pageOf(await select(await data.run(params.run), params), params);
    return { ...page, episodes: shown.map((entry) => entry.head) };
  },
  episode: async (data, params) => {
    const run = await data.run(params.run);
    const heads = await run.file("heads.json");
    const place = heads.findIndex((head) => String(head.key) === params.key);
    if (place < 0) throw new Refused(`key: no episode ${params.key}; reload the list`);
    const chunk = await run.file(`episodes-${Math.floor(place / run.chunk)}.json`);
    return chunk[place % run.chunk];
  },
  compare,
  histogram: async (data, params) => {
    const entries = await sample(await data.run(params.run), params);
    return histogram(entries, valueOf(params.of ?? "return"), number(params, "bins") ?? 30);
  },
  map: async (data, params) => {
    const run = await data.run(params.run);
    return actionMap(run, await sample(run, params), params.by ?? "iteration");
  },
};

const fixed = async (data, params) => (await data.run(params.run)).file("fixed.json");

/** The entries `{head, place}` that the filters leave, in the order of `sort`. */
async function select(run, params) {
  let entries = (await run.file("heads.json")).map((head, place) => ({ head, place }));
  const keep = (test) => (entries = entries.filter(test));
  for (const name of ["stage", "split", "policy", "kind"]) {
    if (name in params) keep(({ head }) => head[name] === params[name]);
  }
  for (const name of ["iteration", "row"]) {
    const wanted = number(params, name);
    if (wanted !== null) keep(({ head }) => head[name] === wanted);
  }
  if ("action" in params) keep(({ head }) => Object.hasOwn(head.actions, params.action));
  if ("selected" in params) {
    if (!REASONS.includes(params.selected)) throw new Refused(`selected: got '${params.selected}'`);
    keep(({ head }) => reasonsOf(head).includes(params.selected));
  }
  within(keep, valueOf("return"), params, "return");
  if ("component" in params) within(keep, valueOf(COMPONENT + params.component), params, "component");
  if ("text" in params) {
    const texts = await run.file("texts.json");
    const wanted = params.text.toLowerCase();
    keep(({ place }) => texts[place].some((text) => text.toLowerCase().includes(wanted)));
  }
  return inOrder(entries, params.sort);
}

/** As `select`, to be counted: of each rollout only what was drawn at random from it. */
const sample = (run, params) => select(run, { selected: RANDOM, ...params });

const reasonsOf = (head) => head.selection?.reasons ?? [RANDOM];

function within(keep, value, params, name) {
  const [low, high] = [number(params, `${name}_min`), number(params, `${name}_max`)];
  if (low !== null) keep(({ head }) => value(head) !== null && value(head) >= low);
  if (high !== null) keep(({ head }) => value(head) !== null && value(head) <= high);
}

function inOrder(entries, sort) {
  if (!sort) return entries;
  const value = valueOf(sort.replace(/^-/, ""));
  return sorted(entries, (entry) => value(entry.head), sort.startsWith("-"));
}

/** What has no value comes last, in both directions. */
function sorted(items, value, backward) {
  const known = items.filter((item) => value(item) !== null);
  known.sort((a, b) => (backward ? value(b) - value(a) : value(a) - value(b)));
  return [...known, ...items.filter((item) => value(item) === null)];
}

function valueOf(column) {
  if (column.startsWith(COMPONENT)) {
    const name = column.slice(COMPONENT.length);
    return (head) => (Object.hasOwn(head.components, name) ? head.components[name] : null);
  }
  if (!SORTS.includes(column)) throw new Refused(`sort: got '${column}', expected ${SORTS.join(", ")}`);
  return (head) => head[column];
}

function number(params, name) {
  if (!(name in params)) return null;
  const value = Number(params[name]);
  if (!Number.isFinite(value)) throw new Refused(`${name}: got '${params[name]}', expected a number`);
  return value;
}

function pageOf(items, params) {
  const page = number(params, "page") ?? 0;
  const size = Math.min(number(params, "size") || PAGE, MAX_PAGE);
  const shown = items.slice(page * size, (page + 1) * size);
  return { shown, page: { total: items.length, page, size } };
}

async function compare(data, params) {
  const [a, b] = await Promise.all([side(data, params, "a"), side(data, params, "b")]);
  const pairs = [...a.rows.keys()].filter((row) => b.rows.has(row)).map((row) => pairOf(row, a, b));
  const changed = pairs.filter((pair) => pair.first_change !== null);
  const known = pairs.filter((pair) => pair.difference !== null);
  const sort = params.sort ?? "-gain";
  const column = { gain: (pair) => pair.difference, row: (pair) => pair.row }[sort.replace(/^-/, "")];
  if (!column) throw new Refused(`sort: got '${sort}', expected gain or row`);
  const list = sorted(params.changed === "1" ? changed : pairs, column, sort.startsWith("-"));
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

/** The episodes of one side by row; of several on a row the last counts. */
async function side(data, params, name) {
  const run = await data.run(params[`run_${name}`]);
  const shared = { split: "split", selected: "selected" };
  const sources = { policy: `policy_${name}`, iteration: `iteration_${name}`, ...shared };
  const given = Object.entries(sources).filter(([, source]) => source in params);
  const filters = Object.fromEntries(given.map(([filter, source]) => [filter, params[source]]));
  const entries = await sample(run, filters);
  const { names, episodes } = await run.file("decisions.json");
  const actions = (entry) => episodes[entry.place].map(([action]) => names[action]);
  return { rows: new Map(entries.map((entry) => [rowOf(entry.head), entry])), actions };
}

function rowOf(head) {
  if (head.row !== null) return head.row;
  const end = head.episode_id.split("-").at(-1);
  return /^\d{1,9}$/.test(end) ? Number(end) : end;
}

function pairOf(row, a, b) {
  const [ours, theirs] = [a.rows.get(row), b.rows.get(row)];
  const unknown = ours.head.return === null || theirs.head.return === null;
  return {
    row,
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

function histogram(entries, value, bins) {
  const values = entries.map(({ head }) => value(head)).filter((v) => v !== null);
  const missing = entries.length - values.length;
  if (!values.length) return { bins: [], missing };
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const count = Math.min(bins, MAX_BINS);
  const width = (high - low) / count;
  if (!(width > 0 && Number.isFinite(width))) return { bins: [binOf(low, high, values)], missing };
  const inside = Array.from({ length: count }, () => []);
  for (const v of values) inside[Math.min(Math.trunc((v - low) / width), count - 1)].push(v);
  const edge = (place) => (place === count ? high : low + place * width);
  return { bins: inside.map((own, i) => binOf(edge(i), edge(i + 1), own)), missing };
}

function binOf(low, high, values) {
  const sorted = [...values].sort((a, b) => a - b);
  return { low, high, count: values.length, least: sorted[0] ?? null, most: sorted.at(-1) ?? null };
}

async function actionMap(run, selected, by) {
  if (!MAPS.includes(by)) throw new Refused(`by: got '${by}', expected one of ${MAPS.join(", ")}`);
  const few = by === "step" || selected.length <= MAX_READ;
  const read = few ? selected.slice(0, MAX_READ) : [];
  const [taken, expert] = [new Counts(), new Counts()];
  if (read.length) {
    const { names, episodes } = await run.file("decisions.json");
    for (const { head, place } of read) {
      episodes[place].forEach(([action, wanted], step) => {
        const row = by === "step" ? step : head[by];
        if (by === "step") taken.add(row, names[action], 1);
        if (wanted >= 0) expert.add(row, names[wanted], 1);
      });
    }
  }
  if (by !== "step") {
    for (const { head } of selected) {
      for (const [name, count] of Object.entries(head.actions)) taken.add(head[by], name, count);
    }
  }
  const [rows, actions] = [rowsOf(taken), namesOf(taken, expert)];
  const expert_counts = expert.rows.size ? expert.table(rows, actions) : null;
  const counts = taken.table(rows, actions);
  return { by, rows, actions, counts, expert_counts, episodes: selected.length, read: read.length };
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

function rowsOf(taken) {
  const rows = [...taken.rows.keys()];
  if (rows.every((row) => row === null || typeof row === "number")) {
    rows.sort((a, b) => (a === null) - (b === null) || a - b);
  }
  return rows.slice(0, MAX_ROWS);
}

function namesOf(taken, expert) {
  const totals = new Map(taken.totals);
  for (const name of expert.totals.keys()) if (!totals.has(name)) totals.set(name, 0);
  const names = [...totals].sort(([, a], [, b]) => b - a).map(([name]) => name);
  return [...names.slice(0, MAX_ACTIONS).sort(), ...(names.length > MAX_ACTIONS ? ["other"] : [])];
}
