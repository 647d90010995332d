// Attribute search over the index the service was started with: by words, by a photo's attributes, or the best shot of each burst.

import { Failure, getBlob, getJson, postPhoto, useKey } from "./api.js";
import { $, el, toast } from "./dom.js";
import { nameOf, percent, PROFILE_NOTES } from "./words.js";

const PICTURES_AT_ONCE = 4;
const PLACEHOLDERS = { words: "smiling and eyeglasses and not wearing_hat", like: "but with mustache and without eyeglasses", best: "every burst, or: wearing_hat" };
const ways = { words: byWords, like: byPhoto, best: bestShots };
let way = "words", profile = "default", photo = null, asked = 0, urls = [], shown = 0, askedFor = "";

async function useProfile(wanted) {
  const { attributes } = await getJson(`/v1/attributes?profile=${wanted}`);
  profile = wanted;
  $("profile-note").textContent = PROFILE_NOTES[wanted];
  $("chips").replaceChildren(...attributes.map(({ name }) => el("button", { type: "button", class: "chip", onclick: () => addWord(name) }, nameOf(name))));
}

function useWay(wanted) {
  way = ways[wanted] ? wanted : "words";
  document.querySelector(`[name=way][value=${way}]`).checked = true;
  $("query").placeholder = PLACEHOLDERS[way];
  $("like").hidden = way !== "like";
  for (const [id, owner] of [["query-help", "words"], ["like-help", "like"], ["best-help", "best"]]) $(id).hidden = way !== owner;
  $("query").setAttribute("aria-describedby", `${{ words: "query", like: "like", best: "best" }[way]}-help query-error`);
}

function addWord(name) {
  const input = $("query"), text = input.value.trim(), word = name.toLowerCase();
  const join = way === "like" ? "and with" : "and", first = way === "like" ? `but with ${word}` : word;
  input.value = !text ? first : /(\b(and|or|not|with|without)|\()$/i.test(text) ? `${text} ${word}` : `${text} ${join} ${word}`;
  search();
}

// Asking

async function search() {
  const own = (asked += 1), query = askedFor = $("query").value.trim();
  const address = new URLSearchParams({ ...(query && { q: query }), ...(way !== "words" && { way }) }).toString();
  history.replaceState(null, "", address ? `/search?${address}` : "/search");
  $("query-error").hidden = true;
  shown = 0;
  empty();
  $("told").textContent = way === "like" && !photo ? "" : "Searching…";
  await ask(query, own);
}

async function more() {
  const button = $("more"), focused = document.activeElement === button;
  button.disabled = true;
  await ask(askedFor, asked); // the query of the page shown, whatever is being typed by now
  button.disabled = false;
  if (focused && !button.hidden) button.focus(); // disabling took the keyboard's place away
}

async function ask(query, own) {
  try {
    await ways[way](query, own);
  } catch (error) {
    if (own !== asked) return;
    $("told").textContent = "";
    if (error instanceof Failure && error.status === 401) askKey();
    else if (error instanceof Failure && error.status > 0 && error.status < 500 && error.status !== 429) { $("query-error").textContent = error.message; $("query-error").hidden = false; }
    else toast(error.message);
  }
}

async function byWords(query, own) {
  const found = await getJson(`/v1/search?${new URLSearchParams({ q: query, profile, loose: $("loose").checked, offset: shown })}`);
  if (own === asked) showHits(found, own, "No face matches. Try fewer words, or rank every face.");
}

async function byPhoto(query, own) {
  if (!photo) return;
  const found = await postPhoto(`/v1/search/like?${new URLSearchParams({ change: query, profile, face: $("like-face").value || 0, offset: shown })}`, photo);
  if (own !== asked) return;
  showFaces(found.faces);
  showHits(found, own, "No face has what you asked for. Ask for less to differ.");
}

async function bestShots(query, own) {
  const found = await getJson(`/v1/search/best-shots?${new URLSearchParams({ q: query, profile, offset: shown })}`);
  if (own === asked) showBursts(found, own);
}

// Showing

function empty() {
  for (const url of urls) URL.revokeObjectURL(url);
  urls = [];
  $("hits").replaceChildren();
  $("bursts").replaceChildren();
  $("more").hidden = true;
  $("hits").hidden = way === "best";
  $("bursts").hidden = way !== "best";
}

function showHits(found, own, none) {
  const faces = `${found.matched_faces} of ${found.indexed_faces} faces match, in ${found.matched_photos} photos`;
  const waiting = [];
  shown = found.offset + found.hits.length;
  $("told").textContent = shown ? `${faces}; the best ${shown} are shown.` : none;
  $("more").hidden = !found.more;
  $("hits").append(...found.hits.map((hit) => hitCard(hit, found.mentioned, waiting)));
  fetchPictures(waiting, own);
}

function showBursts(found, own) {
  const { bursts, found: count } = found, waiting = [], before = found.offset;
  shown = before + bursts.length;
  $("more").hidden = shown >= count;
  $("told").textContent = count ? `${count === 1 ? "One burst" : `${count} bursts`} of one moment${shown < count ? `; the first ${shown} are shown` : ""}.` : "No bursts: no two photos look like one moment.";
  $("bursts").append(...bursts.map((burst, index) => el("section", { aria: { label: `Burst ${before + index + 1}` } },
    el("h2", {}, `${burst.length} photos of one moment`), el("ol", { class: "hits" }, ...burst.map((shot, place) => shotCard(shot, place, waiting))))));
  fetchPictures(waiting, own);
}

function hitCard(hit, mentioned, waiting) {
  const rows = mentioned.filter((attribute) => attribute in hit.attributes).slice(0, 6).map((attribute) => [nameOf(attribute), hit.attributes[attribute]]);
  return card(hit, `Face ${hit.face + 1} of ${baseName(hit)}`, rows, waiting, way === "like" ? `${percent(hit.score)} alike` : null);
}

function shotCard(shot, place, waiting) {
  const rows = [["Everyone smiles", shot.smiling], ["Eyes open", shot.eyes_open]];
  return card(shot, baseName(shot), rows, waiting, place ? null : "Best shot", place ? "" : "best");
}

function card(entry, label, rows, waiting, badge, kind = "") {
  const image = el("img", { alt: label, width: 224, height: 224 });
  waiting.push({ image, path: `/v1/search/pictures/${entry.picture}` });
  return el("li", { class: `hit ${kind}` }, el("div", { class: "thumb" }, image, badge ? el("span", { class: "badge" }, badge) : null),
    el("p", { class: "file", title: entry.file }, baseName(entry)), rows.length ? el("ul", { class: "small-rows" }, ...rows.map(row)) : null);
}

function row([name, prob]) {
  const fill = el("i");
  fill.style.width = `${100 * prob}%`;
  return el("li", {}, el("span", {}, name), el("span", { class: "meter", aria: { hidden: "true" } }, fill), el("span", { class: "prob" }, percent(prob)));
}

const baseName = ({ file }) => file.split(/[\\/]/).at(-1);

function fetchPictures(waiting, own) {
  for (let i = 0; i < PICTURES_AT_ONCE; i += 1) fetchNext(waiting, own);
}

async function fetchNext(waiting, own) {
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

// A photo to compare with

function usePhoto(files) {
  const [file] = files;
  if (!file) return;
  photo = file;
  URL.revokeObjectURL($("like-image").src);
  Object.assign($("like-image"), { src: URL.createObjectURL(file), alt: file.name || "your photo", hidden: false });
  $("like-choose").textContent = "Choose another";
  $("like-face").replaceChildren();
  $("like-face-field").hidden = true;
  useWay("like");
  search();
}

function showFaces(count) {
  if ($("like-face").children.length === count) return;
  $("like-face").replaceChildren(...Array.from({ length: count }, (_, index) => el("option", { value: index }, index ? String(index + 1) : "1, the largest")));
  $("like-face-field").hidden = count < 2;
}

// Key and start

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
$("more").addEventListener("click", more);
for (const choice of document.querySelectorAll("[name=profile]")) {
  choice.addEventListener("change", () => useProfile(choice.value).then(search, (error) => toast(error.message)));
}
for (const choice of document.querySelectorAll("[name=way]")) {
  choice.addEventListener("change", () => { useWay(choice.value); $("query").value = ""; search(); });
}
$("like-choose").addEventListener("click", () => $("like-file").click());
$("like-file").addEventListener("change", () => { usePhoto($("like-file").files); $("like-file").value = ""; });
$("like-face").addEventListener("change", search);
$("like-image").addEventListener("error", () => { $("like-image").hidden = true; });
addEventListener("paste", (event) => { const files = event.clipboardData?.files ?? []; if (files.length) { event.preventDefault(); usePhoto(files); } });
addEventListener("dragover", (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
addEventListener("drop", (event) => { event.preventDefault(); usePhoto(event.dataTransfer.files); });
const given = new URLSearchParams(location.search);
$("query").value = given.get("q") ?? "";
useWay(given.get("way") ?? "words");
start();
