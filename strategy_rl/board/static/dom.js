/**
 * Builds elements. A text is always a text node: what a model wrote is never read as HTML.
 */

const AT_ONCE = 1000; // a call may have too many arguments
const PROPERTIES = new Set(["value", "checked", "disabled", "open", "selected"]);

/**
 * An HTML element.
 * @param {string} tag
 * @param {Object<string, any>} props attributes; `onclick` and the like are listeners, `style` an
 *   object; null, undefined and false are left out.
 * @param {...any} children nodes and texts, in lists if need be; null and false are left out.
 */
export function h(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** An SVG element; arguments as of `h`. */
export function s(tag, props = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

/** A labelled section. */
export function panel(title, ...children) {
  return h("section", { class: "panel" }, h("h2", {}, title), ...children);
}

/** A table; `titles` are [text, class] or cells of the head, `rows` rows. */
export function table(props, titles, rows) {
  const cells = titles.map((title) =>
    title instanceof Node ? title : h("th", { class: title[1] ?? "", scope: "col" }, title[0]),
  );
  return h("table", props, h("thead", {}, h("tr", {}, cells)), h("tbody", {}, rows));
}

/** What stands where nothing is to be shown: what is missing and what to do. */
export function empty(message, ...advice) {
  return h("div", { class: "empty" }, h("p", {}, message), h("p", { class: "muted" }, ...advice));
}

/** A labelled drop-down list; `choices` are texts or [value, label]. */
export function choice(id, label, choices, value, onchange) {
  const pairs = choices.map((item) => (Array.isArray(item) ? item : [String(item), String(item)]));
  const options = pairs.map(([key, name]) =>
    h("option", { value: key, selected: key === String(value ?? "") }, name),
  );
  const select = h("select", { id, onchange: (event) => onchange(event.target.value) }, options);
  return h("label", { class: "control" }, h("span", {}, label), select);
}

/** A labelled box to tick; `set` is told whether it is. */
export function tickBox(id, label, props, set) {
  const onchange = (event) => set(event.target.checked);
  const box = h("input", { id, type: "checkbox", onchange, ...props });
  return h("label", { class: "control" }, box, h("span", {}, label));
}

/** A labelled field to type into, which suggests `values`; `props` are the input's. */
export function field(id, label, props, values = []) {
  const list = values.length > 0 && `${id}-values`;
  const options = values.map((value) => h("option", { value: String(value) }));
  return h(
    "label",
    { class: "control" },
    h("span", {}, label),
    h("input", { id, list, autocomplete: "off", ...props }),
    list && h("datalist", { id: list }, options),
  );
}

/** A link that a plain click follows inside the tab, and others open elsewhere. */
export function link(href, follow, props, ...children) {
  const onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    follow();
  };
  return h("a", { href, target: "_parent", onclick, ...props }, ...children);
}

/** Lets Enter do what a click does. */
export function pressable(onclick) {
  const onkeydown = (event) => event.key === "Enter" && (event.stopPropagation(), onclick(event));
  return { onclick, onkeydown, tabindex: "0", role: "button" };
}

function filled(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") styled(node, value);
    else if (PROPERTIES.has(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  const shown = children
    .flat(Infinity)
    .filter((child) => ![null, undefined, false].includes(child));
  const nodes = shown.map((child) => (child instanceof Node ? child : String(child)));
  for (let i = 0; i < nodes.length; i += AT_ONCE) node.append(...nodes.slice(i, i + AT_ONCE));
  return node;
}

function styled(node, style) {
  for (const [name, value] of Object.entries(style)) node.style.setProperty(name, value);
}
