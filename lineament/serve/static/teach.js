// Teaching an own attribute by clicking: name it, mark faces yes or no, see the score after each ten, save the file. Nothing leaves the machine.

import { postPhoto } from "./api.js";
import { $, save, say, toast } from "./dom.js";

const TEMPLATE = [[69.765, 111.53], [108.165, 111.584], [88.644, 135.869], [72.784, 152.783], [105.537, 152.707]];
const SIZE = { width: 178, height: 218 }, EACH = 10, LEAST = 5;
const marked = new Map(); // photo -> Map of face number -> { side, png }
let file = null, judged = 0, busy = false, marks = 0, hooks; // marks: counts changes, so that a file is of the marks that are shown

/** Wire the panel. `hooks`: current() -> photo or undefined, next() shows the next face or photo. */
export function begin(given) {
  hooks = given;
  $("mark-yes").addEventListener("click", () => mark("yes"));
  $("mark-no").addEventListener("click", () => mark("no"));
  $("teach-score").addEventListener("click", score);
  $("teach-save").addEventListener("click", () => save(new Blob([JSON.stringify(file, null, 1), "\n"], { type: "application/json" }), `${file.name}.json`));
  $("teach-name").addEventListener("input", () => { file = null; judged = 0; marks += 1; show(); });
  addEventListener("keydown", (event) => {
    const side = { y: "yes", n: "no" }[event.key.toLowerCase()];
    if (!side || !$("teach").open || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
    event.preventDefault();
    mark(side);
  });
  show();
}

/** Say how the shown face is marked. */
export function show() {
  const photo = hooks.current(), mine = photo && marked.get(photo)?.get(photo.face)?.side;
  for (const side of ["yes", "no"]) $(`mark-${side}`).setAttribute("aria-pressed", String(mine === side));
  const { yes, no } = sides();
  for (const side of ["yes", "no"]) $(`mark-${side}`).disabled = !photo?.record?.faces.length || !photo.bitmap;
  $("teach-count").textContent = `${yes.length} yes, ${no.length} no`;
  $("teach-score").disabled = busy || !$("teach-name").value.trim() || Math.min(yes.length, no.length) < LEAST;
  $("teach-save").disabled = busy || !file;
}

/** Forget every mark: the photos are gone. */
export function forget() {
  marked.clear();
  file = null;
  marks += 1;
  judged = 0;
  $("teach-said").textContent = "";
  show();
}

function sides() {
  const all = [...marked.values()].flatMap((faces) => [...faces.values()]);
  return { yes: all.filter((one) => one.side === "yes"), no: all.filter((one) => one.side === "no") };
}

function mark(side) {
  const photo = hooks.current();
  if (!photo?.record?.faces.length || !photo.bitmap) return;
  const faces = marked.get(photo) ?? new Map(), number = photo.face;
  if (faces.get(number)?.side === side) faces.delete(number);
  else faces.set(number, { side, png: aligned(photo, number) });
  marked.set(photo, faces);
  file = null;
  marks += 1;
  const { yes, no } = sides(), count = yes.length + no.length;
  say(`Face ${number + 1} of ${photo.name}: ${faces.get(number)?.side ?? "no mark"}. ${yes.length} yes, ${no.length} no.`);
  hooks.next();
  show();
  if (count - judged >= EACH && !$("teach-score").disabled) score();
}

async function score() {
  const { yes, no } = sides(), name = $("teach-name").value.trim(), own = marks;
  judged = yes.length + no.length;
  busy = true;
  show();
  $("teach-said").textContent = "Fitting, and judging on faces left out…";
  try {
    const body = JSON.stringify({ name, yes: yes.map((one) => one.png), no: no.map((one) => one.png) });
    const answer = await postPhoto("/v1/teach", new Blob([body]));
    file = own === marks ? answer.file : null;
    $("teach-said").textContent = words(answer, yes.length + no.length) + (own === marks ? "" : " Marks changed meanwhile: score again to save.");
  } catch (error) {
    file = null;
    $("teach-said").textContent = error.message;
    toast(error.message);
  } finally {
    busy = false;
    show();
    say($("teach-said").textContent);
  }
}

const between = ({ value, low, high }) => `${Math.round(100 * value)} % (${Math.round(100 * low)} to ${Math.round(100 * high)})`;

function words({ report, file: learned, suspects }, count) {
  const { scores, warnings } = report;
  const said = [`${count} faces: accuracy on faces left out ${between(scores.accuracy)}, calibration error ${Math.round(100 * scores.calibration_error.value)} %.`];
  said.push(learned ? (report.learning_curve.more_would_help ? "More faces would help." : "More faces of this kind would hardly help.") : "Not learnable from these yet.");
  for (const warning of warnings) said.push(`Careful: yes and no differ by ${warning.what} too.`);
  if (suspects.length) said.push(`${suspects.length} marks look wrong.`);
  if (report.note) said.push(report.note);
  return said.join(" ");
}

/** The aligned face as base64 of a PNG: keypoints onto CelebA's layout by a similarity, least squares. */
function aligned(photo, number) {
  const points = photo.record.faces[number].keypoints;
  const mean = (list) => [0, 1].map((axis) => list.reduce((sum, point) => sum + point[axis], 0) / list.length);
  const from = mean(points), to = mean(TEMPLATE);
  let a = 0, b = 0, length = 0;
  points.forEach(([x, y], index) => {
    const [u, v, s, t] = [x - from[0], y - from[1], TEMPLATE[index][0] - to[0], TEMPLATE[index][1] - to[1]];
    a += u * s + v * t;
    b += u * t - v * s;
    length += u * u + v * v;
  });
  [a, b] = [a / length, b / length];
  const canvas = Object.assign(document.createElement("canvas"), SIZE), context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.setTransform(a, b, -b, a, to[0] - a * from[0] + b * from[1], to[1] - b * from[0] - a * from[1]);
  context.drawImage(photo.bitmap, 0, 0, photo.record.image.width, photo.record.image.height);
  return canvas.toDataURL("image/png").split(",")[1];
}
