// The photo, its boxes, and where the network looked, drawn over it.

import { $, el } from "./dom.js";
import { list, nameOf } from "./words.js";

const WARM = [255, 122, 48], COOL = [64, 148, 255];

/** Show a photo. `onFace(index)` is called when a box is chosen. */
export function show(photo, onFace) {
  const image = $("photo");
  if (image.getAttribute("src") !== photo.url) image.src = photo.url;
  image.alt = photo.record?.faces.length ? `${photo.name}, ${photo.record.faces.length} found` : photo.name;
  const faces = photo.record?.faces ?? [];
  $("boxes").replaceChildren(...faces.map((face, index) => box(face, index, photo, onFace)));
  blank(photo);
  hideMap();
}

/** Where the browser cannot show a format that the service reads, keep its shape, so that the boxes still make sense. */
export function blank(photo) {
  const frame = $("frame"), hidden = photo.unshowable === true;
  frame.classList.toggle("blank", hidden);
  const { width, height } = photo.record?.image ?? {};
  frame.style.aspectRatio = hidden && width ? `${width} / ${height}` : "";
  frame.style.width = hidden ? "100%" : "";
}

export function veil(text) {
  $("veil").hidden = !text;
  $("veil-text").textContent = text || "";
}

function box(face, index, photo, onFace) {
  const { width, height } = photo.record.image, [x1, y1, x2, y2] = face.box_xyxy;
  const left = Math.max(0, x1), top = Math.max(0, y1);
  const yes = Object.entries(face.attributes).filter(([, answer]) => answer.label === "yes").map(([name]) => nameOf(name));
  const small = Math.min((x2 - x1) / width, (y2 - y1) / height) < 0.12 && top / height > 0.06;
  const node = el("button", {
    type: "button", class: small ? "box small" : "box", aria: { pressed: String(index === photo.face), label: `Face ${index + 1} of ${photo.record.faces.length}. Yes: ${list(yes) || "nothing"}.` },
    onclick: () => onFace(index),
  }, el("span", { aria: { hidden: "true" } }, String(index + 1)));
  Object.assign(node.style, {
    left: `${(100 * left) / width}%`, top: `${(100 * top) / height}%`,
    width: `${(100 * (Math.min(width, x2) - left)) / width}%`, height: `${(100 * (Math.min(height, y2) - top)) / height}%`,
  });
  return node;
}

export function hideMap() {
  $("frame").classList.remove("mapped");
}

/** Draw a face's map (rows of numbers over its crop) onto the photo. Returns whether there was one. */
export function showMap(photo, face, values) {
  const { maps } = face, { width, height } = photo.record.image, image = $("photo");
  const shown = { width: image.clientWidth || $("frame").clientWidth, height: image.clientHeight || $("frame").clientHeight };
  const canvas = $("map"), density = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(shown.width * density));
  canvas.height = Math.max(1, Math.round(shown.height * density));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.scale(canvas.width / width, canvas.height / height); // photo pixels from here on
  const [[a, b, c], [d, e, f]] = maps.crop_from_image, determinant = a * e - b * d;
  context.transform(e / determinant, -d / determinant, -b / determinant, a / determinant, (b * f - c * e) / determinant, (c * d - a * f) / determinant); // crop pixels
  context.drawImage(soft(heat(values, maps.kind !== "class_activation"), maps.crop_size), 0, 0);
  $("frame").classList.add("mapped");
}

/** A map as a small picture: opacity is strength; warm above zero, cool below. */
function heat(values, onlyPositive) {
  const height = values.length, width = values[0].length;
  const canvas = el("canvas", { width, height }), context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  const numbers = values.flat(), low = onlyPositive ? Math.min(...numbers) : 0;
  const most = Math.max(...numbers.map((value) => Math.abs(value - low))) || 1;
  numbers.forEach((value, index) => {
    const strength = Math.abs(value - low) / most;
    pixels.data.set([...(value - low >= 0 ? WARM : COOL), Math.round(190 * strength ** 1.4)], 4 * index);
  });
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** A map at the size of the crop, its edges fading out: the crop ends there, the photo does not. */
function soft(cells, [height, width]) {
  const canvas = el("canvas", { width, height }), context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(cells, 0, 0, width, height);
  context.globalCompositeOperation = "destination-in";
  for (const [x, y] of [[width, 0], [0, height]]) {
    const fade = context.createLinearGradient(0, 0, x, y);
    for (const [at, alpha] of [[0, 0], [0.12, 1], [0.88, 1], [1, 0]]) fade.addColorStop(at, `rgb(0 0 0 / ${alpha})`);
    context.fillStyle = fade;
    context.fillRect(0, 0, width, height);
  }
  return canvas;
}
