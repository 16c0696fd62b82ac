/**
 * The episodes before and after one, in the list that it was opened from.
 */

import { ask } from "./api.js";
import { listQuery } from "./episodes.js";

/**
 * @returns {Promise<{place: number, total: number, previous, next} | null>} null where the filters
 *   leave the episode out; `previous` and `next` are changes of the place, or null at the ends.
 */
export async function neighbours(params) {
  const page = Number(params.page ?? 0);
  const { episodes, total, size } = await ask("episodes", listQuery(params, page));
  const at = episodes.findIndex((head) => String(head.key) === params.key);
  if (at < 0) return null;
  const place = page * size + at;
  const [previous, next] = await Promise.all([near(-1), near(1)]);
  return { place, total, previous, next };

  async function near(step) {
    const to = place + step;
    if (to < 0 || to >= total) return null;
    const there = Math.floor(to / size);
    const list =
      there === page ? episodes : (await ask("episodes", listQuery(params, there))).episodes;
    return { key: list[to - there * size].key, page: there || null };
  }
}
