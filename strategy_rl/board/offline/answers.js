/**
 * The answers of the plugin's routes, computed from exported files. Knows no page.
 */

import { compare } from "./compare.js";
import { histogram } from "./figures.js";
import { actionMap } from "./maps.js";
import { number, pageOf, Refused, sample, select, valueOf } from "./select.js";

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
