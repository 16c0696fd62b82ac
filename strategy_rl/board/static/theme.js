/**
 * Colours and measures: style.css, and TensorBoard's dark mode, which tells plugins nothing but
 * marks its own body.
 */

/** Done when the style is there. */
export function styled() {
  followTheme();
  const sheet = document.createElement("link");
  const done = new Promise((resolve) => {
    sheet.onload = sheet.onerror = resolve;
  });
  Object.assign(sheet, { rel: "stylesheet", href: new URL("style.css", import.meta.url).href });
  document.head.append(sheet);
  return done;
}

function followTheme() {
  const body = window.parent.document.body;
  const follow = () => {
    document.documentElement.dataset.theme = body.classList.contains("dark-mode")
      ? "dark"
      : "light";
  };
  new MutationObserver(follow).observe(body, { attributes: true, attributeFilter: ["class"] });
  follow();
}
