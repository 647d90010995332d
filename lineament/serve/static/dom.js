// Building elements without markup in strings: nothing a file name or a server says can become HTML.

export const $ = (id) => document.getElementById(id);

/** Make an element: properties by name, `data` as data-*, `aria` as aria-*, then its children. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "aria") for (const [key, text] of Object.entries(value)) node.setAttribute(`aria-${key}`, text);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "class") node.className = value;
    else if (name === "role") node.setAttribute("role", value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
}

/** Say something to a screen reader without moving its focus. */
export function say(text) {
  $("live").textContent = "";
  requestAnimationFrame(() => { $("live").textContent = text; });
}

let toastTimer = 0;

/** Show a short message that also a screen reader says at once. */
export function toast(text) {
  $("alert").textContent = text;
  $("alert").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $("alert").hidden = true; }, 6000);
}

/** Hand a blob to the browser's downloads. */
export function save(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
