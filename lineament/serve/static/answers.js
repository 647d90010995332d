// The panel: what is said of one face, or the honest reason why nothing is.

import { $, el } from "./dom.js";
import { BECAUSE, LABELS, list, nameOf, partOf, percent, qualityOf, titleOf } from "./words.js";

/** Show a photo's answers. `actions`: onFace(index), onLook(name or null, pinned), onRetry(). */
export function show(photo, about, actions) {
  const faces = photo.record?.faces ?? [];
  $("faces").hidden = faces.length < 2;
  $("faces").replaceChildren(...faces.map((face, index) => tab(photo, face, index, actions)));
  $("answers").replaceChildren(...(faces.length ? face(photo, faces[photo.face], about, actions) : [state(photo, actions)]));
}

function state(photo, actions) {
  const { failure } = photo;
  if (failure) {
    const again = ["offline", "timed_out", "queue", "requests", "requests_per_client", "buffered_bytes", "worker_lost"].includes(failure.code);
    const retry = again ? el("button", { type: "button", onclick: actions.onRetry }, "Try again") : null;
    return el("div", { class: "state bad" }, el("strong", {}, titleOf(failure.code)), el("p", {}, failure.message), retry);
  }
  if (photo.record) {
    return el("div", { class: "state" }, el("strong", {}, "No face found"),
      el("p", {}, "Nothing here looks like a face, so nothing is answered. A larger or less turned face may be found."));
  }
  return el("div", { class: "state" }, el("p", {}, photo.waiting ?? "Looking at the photo…"));
}

function tab(photo, one, index, actions) {
  const chosen = index === photo.face, count = photo.record.faces.length;
  const thumbnail = el("canvas", { width: 116, height: 116, aria: { hidden: "true" } });
  if (photo.bitmap) drawFace(thumbnail, photo, one);
  return el("button", {
    type: "button", class: "face-tab", role: "tab", tabIndex: chosen ? 0 : -1, aria: { selected: String(chosen), controls: "answers", label: `Face ${index + 1} of ${count}` },
    onclick: () => actions.onFace(index),
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const goal = step ? (index + step + count) % count : { Home: 0, End: count - 1 }[event.key];
      if (goal === undefined) return;
      event.preventDefault();
      actions.onFace(goal);
      $("faces").children[goal].focus();
    },
  }, thumbnail, el("span", {}, String(index + 1)));
}

/** Draw a face, a little wider than its box, into a square canvas. */
function drawFace(canvas, photo, one) {
  const [x1, y1, x2, y2] = one.box_xyxy, side = Math.max(x2 - x1, y2 - y1) * 1.15;
  const ratio = photo.bitmap.width / photo.record.image.width;
  const left = ((x1 + x2 - side) / 2) * ratio, top = ((y1 + y2 - side) / 2) * ratio;
  canvas.getContext("2d").drawImage(photo.bitmap, left, top, side * ratio, side * ratio, 0, 0, canvas.width, canvas.height);
}

function face(photo, one, about, actions) {
  const yes = about.attributes.filter(({ name }) => one.attributes[name]?.label === "yes").map(({ name }) => nameOf(name));
  const groups = about.groups
    .map((group) => [group, about.attributes.filter((entry) => entry.group === group && one.attributes[entry.name])])
    .filter(([, entries]) => entries.length);
  return [
    el("p", { class: "summary" }, yes.length ? `${list(yes)}.` : "None of the answers is yes."),
    el("p", { class: "quality" }, `${qualityOf(one.quality, about.decision)}${one.detection_prob === null ? "" : ` · found with ${percent(one.detection_prob)}`}`),
    ...groups.map(([group, entries]) => el("section", { class: "group", aria: { label: partOf(group) } },
      el("h3", {}, partOf(group)), el("ul", { class: "rows" }, ...entries.map((entry) => row(photo, one, entry, about, actions))))),
    el("p", { class: "hint" }, one.maps ? "Point at an answer to see where the network looked; press it to keep the picture." : "This model gives no picture of where it looked.",
      " The mark on each bar is where yes begins."),
  ];
}

function row(photo, one, entry, about, actions) {
  const { prob, label, changed_by: rule, because } = one.attributes[entry.name], threshold = about.decision.thresholds?.[entry.name] ?? 0.5;
  const fill = el("i"), mark = el("b");
  fill.style.width = `${100 * prob}%`;
  mark.style.left = `${100 * threshold}%`;
  const pinned = photo.pinned === entry.name;
  const node = el("button", {
    type: "button", class: `row ${label}`, data: { name: entry.name },
    aria: { pressed: String(pinned), label: `${nameOf(entry.name)} ${percent(prob)} ${because ? `${BECAUSE[because]}, cannot tell` : LABELS[label]}${rule ? `, changed by a rule: ${rule}` : ""}` },
    onclick: () => actions.onLook(entry.name, true),
    onpointerenter: (event) => { if (event.pointerType !== "touch") actions.onLook(entry.name, false); },
    onpointerleave: () => actions.onLook(null, false), onfocus: () => actions.onLook(entry.name, false), onblur: () => actions.onLook(null, false),
  },
    el("span", { class: "name" }, nameOf(entry.name)), " ",
    el("span", { class: "meter" }, fill, mark), " ", el("span", { class: "prob" }, percent(prob)), " ", el("span", { class: "label", title: because ? "cannot tell" : "" }, because ? BECAUSE[because] : LABELS[label]));
  return el("li", {}, node);
}
