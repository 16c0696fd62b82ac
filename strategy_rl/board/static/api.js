/**
 * Asks the plugin's routes. Knows no view.
 */

const kept = new Map();

/** The answer of a route, kept until `forget`. Throws an Error that says what went wrong. */
export function ask(route, params = {}) {
  const url = `./${route}${query(params)}`;
  if (!kept.has(url)) {
    const answer = askNow(url);
    kept.set(url, answer);
    answer.catch(() => kept.delete(url));
  }
  return kept.get(url);
}

/** Drops kept answers, since the runs have grown. */
export const forget = () => kept.clear();

/** As `ask`, never from what was kept. */
export async function askNow(url) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new Error(
      "TensorBoard does not answer; is it still running? Reload the page when it is.",
    );
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new Error(answer?.error ?? `${url}: HTTP ${response.status}; see TensorBoard's own log.`);
}

function query(params) {
  const given = Object.entries(params).filter(
    ([, value]) => ![null, undefined, ""].includes(value),
  );
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
