// The page: which photos there are, which one is shown, and what happens to each. Everything else is in the modules below.

import * as annotate from "./annotate.js";
import * as answers from "./answers.js";
import { analyze, Failure, getBlob, getJson, useKey } from "./api.js";
import * as camera from "./camera.js";
import { $, el, save, say, toast } from "./dom.js";
import * as stage from "./stage.js";
import * as teach from "./teach.js";
import { list, mapWords, nameOf, PROFILE_NOTES, titleOf } from "./words.js";

const AT_ONCE = 2, MOST_PHOTOS = 100, KEPT_SIDE = 4096;
const state = { photos: [], shown: null, about: null, service: null, settings: { profile: "default", abstain: false } };
let working = 0;

// Start

async function start() {
  try {
    const [service, model] = await Promise.all([getJson("/v1/service"), getJson("/v1/model")]);
    Object.assign(state, { service, model });
    document.querySelector("[data-do=example]").hidden = !service.example;
    $("search-link").hidden = !service.search;
    const { abstain = {}, min_eye_distance: least = {}, min_sharpness: blurred = {} } = model.decision;
    const unsure = [abstain, least, blurred].some((limits) => Object.keys(limits).length > 0);
    $("abstain-setting").hidden = !unsure;
    $("abstain").checked = state.settings.abstain = unsure;
    $("model-line").textContent = `Model ${model.id} · ${model.licence}`;
    $("card-line").textContent = `Made for: ${model.intended_use}. Learned from: ${typeof model.data === "string" ? model.data : Object.values(model.data).filter((part) => typeof part === "string").join(", ")}.`;
    await useProfile(state.settings.profile);
  } catch (error) {
    if (error instanceof Failure && error.status === 401) askKey();
    else toast(error.message);
  }
}

async function useProfile(profile) {
  const { groups, attributes } = await getJson(`/v1/attributes?profile=${profile}`);
  state.settings.profile = profile;
  state.about = { groups, attributes, decision: state.model.decision };
  $("profile-note").textContent = PROFILE_NOTES[profile];
}

function askKey() {
  const dialog = $("key");
  $("key-form").onsubmit = (event) => { event.preventDefault(); useKey($("key-value").value.trim()); dialog.close(); start().then(lookAgain); };
  $("key-close").onclick = () => dialog.close();
  if (!dialog.open) dialog.showModal();
}

// Photos in

function add(files) {
  const pictures = [...files].slice(0, MOST_PHOTOS - state.photos.length);
  if (!pictures.length) return;
  if (pictures.length < files.length) toast(`At most ${MOST_PHOTOS} photos at once; the rest was left out.`);
  const added = pictures.map((blob) => ({ blob, name: blob.name || "photo", url: URL.createObjectURL(blob), face: 0, pinned: null }));
  state.photos.push(...added);
  $("welcome").hidden = true;
  $("work").hidden = false;
  choose(added[0]);
  work();
}

/** Look at photos that nobody has looked at yet, a few at once. */
function work() {
  while (working < AT_ONCE) {
    const photo = state.photos.find((one) => !one.record && !one.failure && !one.busy);
    if (!photo) return;
    working += 1;
    look(photo).finally(() => { working -= 1; work(); });
  }
}

async function look(photo) {
  photo.busy = new AbortController();
  photo.waiting = "Looking at the photo…";
  update(photo);
  try {
    await begun;
    if (!state.about) await start();
    if (!state.about) throw new Failure("offline", "The service cannot be reached. Is it still running?");
    const most = state.service?.limits.body_bytes ?? Infinity;
    if (photo.blob.size > most) throw new Failure("body_bytes", `This file has ${megabytes(photo.blob.size)}; the service takes ${megabytes(most)}. Save it smaller.`, 413);
    const [record] = await Promise.all([analyze(photo, state.settings, {
      signal: photo.busy.signal,
      onWait: (seconds) => { photo.waiting = `The service is busy. Trying again in ${seconds} s…`; say(photo.waiting); update(photo); },
    }), decode(photo)]);
    photo.record = record;
    photo.face = Math.min(photo.face, Math.max(0, record.faces.length - 1));
    say(spoken(photo));
  } catch (error) {
    if (error.name === "AbortError") return;
    photo.failure = error instanceof Failure ? error : new Failure("page", String(error));
    if (photo.failure.status === 401) askKey();
    say(`${photo.name}: ${titleOf(photo.failure.code)}. ${photo.failure.message}`);
  } finally {
    photo.busy = null;
    update(photo);
  }
}

/** Keep decoded pixels for thumbnails and the PNG; a format the browser cannot show has none, and is answered all the same. */
async function decode(photo) {
  if (photo.bitmap || photo.unshowable) return;
  try {
    const whole = await createImageBitmap(photo.blob, { imageOrientation: "from-image" });
    const ratio = Math.min(1, KEPT_SIDE / Math.max(whole.width, whole.height));
    photo.bitmap = ratio === 1 ? whole : await createImageBitmap(whole, { resizeWidth: Math.round(whole.width * ratio), resizeHeight: Math.round(whole.height * ratio), resizeQuality: "high" });
  } catch {
    photo.unshowable = true;
  }
}

function lookAgain() {
  for (const photo of state.photos) {
    photo.busy?.abort();
    Object.assign(photo, { record: null, failure: null, busy: null, pinned: null });
  }
  if (state.shown) choose(state.shown);
  work();
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

function spoken(photo) {
  const { faces } = photo.record;
  if (!faces.length) return `${photo.name}: no face found.`;
  const yes = Object.entries(faces[0].attributes).filter(([, answer]) => answer.label === "yes").map(([name]) => nameOf(name));
  return `${photo.name}: ${faces.length === 1 ? "one face" : `${faces.length} faces`}. Face 1: ${list(yes) || "no answer is yes"}.`;
}

// What is shown

function choose(photo) {
  state.shown = photo;
  update(photo);
}

function update(photo) {
  drawStrip();
  if (photo !== state.shown) return;
  stage.show(photo, chooseFace);
  stage.veil(photo.busy ? photo.waiting : "");
  answers.show(photo, state.about, { onFace: chooseFace, onLook: lookAt, onRetry: () => { photo.failure = null; work(); } });
  caption();
  const answered = Boolean(photo.record);
  $("save-json").disabled = !answered;
  $("save-png").disabled = !answered || !photo.bitmap;
  teach.show();
}

function chooseFace(index) {
  const photo = state.shown;
  photo.face = index;
  const focused = document.activeElement?.closest("#boxes, #faces");
  update(photo);
  if (focused) $(focused.id).children[index]?.focus();
  if (photo.pinned) lookAt(photo.pinned, false);
}

/** Show the next face of the photo, else the next photo that has one. */
function nextFace() {
  const photo = state.shown, rest = state.photos.slice(state.photos.indexOf(photo) + 1);
  if (photo.face + 1 < photo.record.faces.length) chooseFace(photo.face + 1);
  else if (rest.length) choose(rest.find((one) => one.record?.faces.length) ?? rest[0]);
}

function drawStrip() {
  $("strip").hidden = state.photos.length < 2;
  $("strip").replaceChildren(...state.photos.map((photo) => {
    const mark = photo.failure ? "!" : photo.record ? String(photo.record.faces.length) : "…";
    const told = photo.failure ? titleOf(photo.failure.code) : photo.record ? `${photo.record.faces.length} faces` : "waiting";
    const button = el("button", { type: "button", aria: { current: String(photo === state.shown), label: `${photo.name}, ${told}` }, onclick: () => choose(photo) },
      el("img", { src: photo.url, alt: "", class: photo.unshowable ? "broken" : "", onerror: (event) => event.target.classList.add("broken") }), el("span", { class: "badge", aria: { hidden: "true" } }, mark));
    return el("li", {}, button);
  }));
}

/** Show where the network looked for an attribute (or for the part it belongs to); `pin` keeps it. */
function lookAt(name, pin) {
  const photo = state.shown, face = photo?.record?.faces[photo.face];
  if (!face?.maps) return;
  if (pin) {
    photo.pinned = photo.pinned === name ? null : name;
    name = photo.pinned;
    for (const row of document.querySelectorAll(".row")) row.setAttribute("aria-pressed", String(row.dataset.name === photo.pinned));
  }
  const wanted = name ?? photo.pinned;
  const map = state.about.attributes.find((entry) => entry.name === wanted)?.map;
  const values = map && face.maps.values[map];
  if (values) stage.showMap(photo, face, values);
  else stage.hideMap();
  caption(values ? wanted : null);
}

function caption(attribute = null) {
  const photo = state.shown, node = $("caption");
  const kind = attribute && photo.record.faces[photo.face].maps.kind;
  if (kind === "class_activation") {
    node.replaceChildren(`${nameOf(attribute)}: `, el("span", { class: "key-warm" }, "warm"), " speaks for yes, ", el("span", { class: "key-cool" }, "cool"), " for no.");
  } else if (attribute) node.replaceChildren(`${nameOf(attribute)}: ${mapWords(kind, state.about.attributes.find((entry) => entry.name === attribute))}`);
  else node.replaceChildren([photo.name, photo.unshowable && photo.record ? "your browser cannot show this format" : "", photo.record?.image.note ?? ""].filter(Boolean).join(" · "));
}

function clear() {
  for (const photo of state.photos) {
    photo.busy?.abort();
    URL.revokeObjectURL(photo.url);
  }
  Object.assign(state, { photos: [], shown: null });
  teach.forget();
  $("photo").removeAttribute("src");
  $("work").hidden = true;
  $("welcome").hidden = false;
  document.querySelector("#welcome [data-do=choose]").focus();
}

// Out

function saveJson() {
  const records = state.photos.filter((photo) => photo.record).map((photo) => {
    const faces = photo.record.faces.map(({ maps, ...face }) => face);
    return { ...photo.record, source: photo.name, faces };
  });
  save(new Blob([JSON.stringify(records.length === 1 ? records[0] : records, null, 1), "\n"], { type: "application/json" }), "lineament.json");
}

async function savePng() {
  save(await annotate.annotated(state.shown), `${state.shown.name.replace(/\.[^.]*$/, "")}-lineament.png`);
}

// Wiring

const actions = {
  choose: () => $("file").click(),
  camera: () => camera.open((blob) => add([new File([blob], "camera.jpg", { type: "image/jpeg" })])),
  example: async () => {
    try { add([new File([await getBlob("/example")], "Eileen Collins (NASA).png")]); } catch (error) { toast(error.message); }
  },
};
for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => actions[button.dataset.do]());
$("file").addEventListener("change", () => { add($("file").files); $("file").value = ""; });
$("save-json").addEventListener("click", saveJson);
$("save-png").addEventListener("click", savePng);
$("clear").addEventListener("click", clear);
$("only-yes").addEventListener("change", () => $("answers").classList.toggle("only-yes", $("only-yes").checked));
$("abstain").addEventListener("change", () => { state.settings.abstain = $("abstain").checked; lookAgain(); });
for (const choice of document.querySelectorAll("[name=profile]")) {
  choice.addEventListener("change", () => useProfile(choice.value).then(lookAgain, (error) => toast(error.message)));
}
$("photo").addEventListener("error", () => { if (state.shown) { state.shown.unshowable = true; stage.blank(state.shown); } });
addEventListener("paste", (event) => { const files = event.clipboardData?.files ?? []; if (files.length) { event.preventDefault(); add(files); } });
let depth = 0;
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => { if (carriesFiles(event)) { depth += 1; $("drag").hidden = false; } });
addEventListener("dragleave", (event) => { if (carriesFiles(event)) { depth -= 1; $("drag").hidden = depth > 0; } });
addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
addEventListener("drop", (event) => { event.preventDefault(); depth = 0; $("drag").hidden = true; add(event.dataTransfer.files); });
addEventListener("offline", () => toast("You are offline."));
addEventListener("resize", () => { if (state.shown?.pinned) lookAt(state.shown.pinned, false); });

teach.begin({ current: () => state.shown, next: nextFace });
const begun = start();
