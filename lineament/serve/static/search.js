// Attribute search over the index the service was started with.

import { Failure, getBlob, getJson, useKey } from "./api.js";
import { $, el, toast } from "./dom.js";
import { nameOf, percent, PROFILE_NOTES } from "./words.js";

const PICTURES_AT_ONCE = 4;
let profile = "default", asked = 0, urls = [];

async function useProfile(wanted) {
  const { attributes } = await getJson(`/v1/attributes?profile=${wanted}`);
  profile = wanted;
  $("profile-note").textContent = PROFILE_NOTES[wanted];
  $("chips").replaceChildren(...attributes.map(({ name }) => el("button", { type: "button", class: "chip", onclick: () => addWord(name) }, nameOf(name))));
}

function addWord(name) {
  const input = $("query"), text = input.value.trim(), word = name.toLowerCase();
  input.value = !text ? word : /(\b(and|or|not)|\()$/i.test(text) ? `${text} ${word}` : `${text} and ${word}`;
  search();
}

async function search() {
  const own = (asked += 1), query = $("query").value.trim();
  history.replaceState(null, "", query ? `/search?q=${encodeURIComponent(query)}` : "/search");
  $("query-error").hidden = true;
  $("told").textContent = "Searching…";
  try {
    const found = await getJson(`/v1/search?${new URLSearchParams({ q: query, profile, loose: $("loose").checked })}`);
    if (own === asked) show(found, own);
  } catch (error) {
    if (own !== asked) return;
    $("told").textContent = "";
    $("hits").replaceChildren();
    if (error instanceof Failure && error.status === 401) askKey();
    else if (error instanceof Failure && error.status === 422) { $("query-error").textContent = error.message; $("query-error").hidden = false; }
    else toast(error.message);
  }
}

function show(found, own) {
  for (const url of urls) URL.revokeObjectURL(url);
  urls = [];
  const faces = `${found.matched_faces} of ${found.indexed_faces} faces match, in ${found.matched_photos} photos`;
  $("told").textContent = found.hits.length ? `${faces}; the best ${found.hits.length} are shown.` : "No face matches. Try fewer words, or rank every face.";
  const waiting = [];
  $("hits").replaceChildren(...found.hits.map((hit) => card(hit, found.mentioned, waiting)));
  for (let i = 0; i < PICTURES_AT_ONCE; i += 1) fetchPictures(waiting, own);
}

function card(hit, mentioned, waiting) {
  const name = hit.file.split(/[\\/]/).at(-1);
  const image = el("img", { alt: `Face ${hit.face + 1} of ${name}`, width: 224, height: 224 });
  waiting.push({ image, path: `/v1/search/pictures/${hit.picture}` });
  const rows = mentioned.filter((attribute) => attribute in hit.attributes).slice(0, 6).map((attribute) => {
    const fill = el("i");
    fill.style.width = `${100 * hit.attributes[attribute]}%`;
    return el("li", {}, el("span", {}, nameOf(attribute)), el("span", { class: "meter", aria: { hidden: "true" } }, fill), el("span", { class: "prob" }, percent(hit.attributes[attribute])));
  });
  return el("li", { class: "hit" }, el("div", { class: "thumb" }, image),
    el("p", { class: "file", title: hit.file }, name), rows.length ? el("ul", { class: "small-rows" }, ...rows) : null);
}

async function fetchPictures(waiting, own) {
  for (let next = waiting.shift(); next && own === asked; next = waiting.shift()) {
    try {
      const url = URL.createObjectURL(await getBlob(next.path));
      urls.push(url);
      next.image.src = url;
    } catch {
      next.image.replaceWith(el("span", { class: "quiet" }, "The photo has changed or is gone."));
    }
  }
}

function askKey() {
  const dialog = $("key");
  $("key-form").onsubmit = (event) => { event.preventDefault(); useKey($("key-value").value.trim()); dialog.close(); start(); };
  $("key-close").onclick = () => dialog.close();
  if (!dialog.open) dialog.showModal();
}

async function start() {
  try {
    await useProfile(profile);
    await search();
  } catch (error) {
    if (error instanceof Failure && error.status === 401) askKey();
    else toast(error.message);
  }
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); search(); });
$("loose").addEventListener("change", search);
for (const choice of document.querySelectorAll("[name=profile]")) {
  choice.addEventListener("change", () => useProfile(choice.value).then(search, (error) => toast(error.message)));
}
$("query").value = new URLSearchParams(location.search).get("q") ?? "";
start();
