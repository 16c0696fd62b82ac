/**
 * Numbers and names as people read them. Knows no page.
 */

const MINUS = "\u2212";
export const NOTHING = "\u2013";

/** Whether something was recorded. */
export const known = (value) => value !== null && value !== undefined;

/** Three decimals, fewer for large numbers; a dash for null. */
export function number(value, digits = 3) {
  if (value === null || value === undefined) return NOTHING;
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

export function whole(value) {
  return value === null || value === undefined ? NOTHING : value.toLocaleString("en-US");
}

export function percent(share) {
  return share === null || share === undefined ? NOTHING : `${Math.round(100 * share)}%`;
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
export function moment(point) {
  return point.stage === "evaluation" && !point.iteration
    ? point.stage
    : `${point.stage} ${point.iteration}`;
}

/** "T 0 ×3 · keywords ×2", most frequent first. */
export function counted(counts) {
  const sorted = Object.entries(counts ?? {}).sort((a, b) => b[1] - a[1]);
  return sorted
    .map(([name, count]) => (count === 1 ? name : `${name} \u00d7${count}`))
    .join(" \u00b7 ");
}
