/**
 * Histograms. As figures.py.
 */

const MAX_BINS = 200;

export function histogram(entries, value, bins) {
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
