/**
 * Numbers and names as people read them. Knows no page.
 */

const MINUS = "\u2212";
export const NOTHING = "\u2013";

/** Whether something was recorded. */
export const known = (value) => value !== null && value !== undefined;

/** What stands in `fields` under a name that somebody else chose, such as "constructor". */
export const own = (fields, name) =>
  fields && Object.hasOwn(fields, name) ? fields[name] : undefined;

/** Three decimals, fewer for large numbers; a dash for null. */
export function number(value, digits = 3) {
  if (!known(value)) return NOTHING;
  const size = Math.abs(value);
  const places = size >= 1000 ? 0 : size >= 100 ? Math.min(digits, 1) : digits;
  return value
    .toFixed(places)
    .replace(/^-(?=0\.?0*$)/, "")
    .replace("-", MINUS);
}

/** As `number`, with a plus sign. */
export function signed(value, digits = 3) {
  const text = number(value, digits);
  return value > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

/** Three decimals; below 0.001 as 2e-5, so that small ones can be told apart. */
export const probability = (p) =>
  known(p) && p > 0 && p < 0.001 ? p.toExponential(0) : number(p);

export const whole = (value) => (known(value) ? value.toLocaleString("en-US") : NOTHING);

export function percent(share) {
  if (!known(share)) return NOTHING;
  return share > 0 && share < 0.005 ? "<1%" : `${Math.round(100 * share)}%`;
}

/** "1 episode", "2 episodes". */
export function plural(count, noun) {
  return `${whole(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** At most `length` characters on one line. */
export function short(text, length = 80) {
  const line = String(text).replace(/\s+/g, " ").trim();
  return line.length <= length ? line : `${line.slice(0, length - 1)}\u2026`;
}

/** `keyword_coverage` as "keyword coverage", so that it can wrap. */
export const spaced = (name) => String(name).replaceAll("_", " ");

/** "ppo 12"; the stage alone where an iteration says nothing. */
export function moment({ stage, iteration }) {
  const silent = !known(iteration) || (stage === "evaluation" && iteration === 0);
  return silent ? (stage ?? NOTHING) : `${stage ?? "iteration"} ${iteration}`;
}

/** "T 0 ×3 · keywords ×2", most frequent first. */
export function counted(counts) {
  const sorted = Object.entries(counts ?? {}).sort((a, b) => b[1] - a[1]);
  return sorted
    .map(([name, count]) => (count === 1 ? name : `${name} \u00d7${count}`))
    .join(" \u00b7 ");
}
