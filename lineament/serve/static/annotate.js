// The annotated PNG: the photo with its boxes, and beside it what is said yes to. Drawn here; nothing goes back to the service.

import { LABELS, nameOf, percent } from "./words.js";

const INK = "#1e2226", MUTED = "#5c6269", PAPER = "#fffdf9", ACCENT = "#0f6b5c", LIGHT = "#6fe0c6";

/** Return a PNG blob of a photo with its answers. */
export function annotated(photo) {
  const { image, faces } = photo.record, scale = photo.bitmap ? photo.bitmap.width / image.width : 1;
  const width = Math.round(image.width * scale), height = Math.round(image.height * scale);
  const text = Math.max(14, Math.round(Math.max(width, height) / 46)), margin = Math.round(text * 1.4);
  const columns = faces.map((face) => Object.entries(face.attributes).filter(([, answer]) => answer.label !== "no"));
  const panel = faces.length ? Math.round(text * 19) : 0, needed = columns.reduce((sum, column) => sum + (column.length + 2.2) * text * 1.55, 2 * margin);
  const canvas = document.createElement("canvas");
  canvas.width = width + panel;
  canvas.height = Math.max(height, Math.round(needed) * (faces.length ? 1 : 0));
  const context = canvas.getContext("2d");
  context.fillStyle = PAPER;
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (photo.bitmap) context.drawImage(photo.bitmap, 0, 0, width, height);
  faces.forEach((face, index) => drawBox(context, face.box_xyxy.map((value) => value * scale), index, text));
  drawPanel(context, columns, width + margin, margin + text, text, panel - 2 * margin);
  return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
}

function drawBox(context, [x1, y1, x2, y2], index, text) {
  const line = Math.max(2, text / 7);
  for (const [colour, width] of [["rgb(0 0 0 / 55%)", line * 2], [LIGHT, line]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.roundRect(x1, y1, x2 - x1, y2 - y1, text / 2);
    context.stroke();
  }
  context.fillStyle = LIGHT;
  context.fillRect(x1, y1, text * 1.5, text * 1.5);
  context.fillStyle = "#06211b";
  context.font = `600 ${text}px system-ui, sans-serif`;
  context.fillText(String(index + 1), x1 + text * 0.45, y1 + text * 1.12);
}

function drawPanel(context, columns, left, top, text, width) {
  let y = top;
  columns.forEach((answers, index) => {
    context.fillStyle = INK;
    context.font = `500 ${text * 1.25}px Georgia, serif`;
    context.fillText(`Face ${index + 1}`, left, y);
    y += text * 1.8;
    for (const [name, answer] of answers) {
      context.font = `${text}px system-ui, sans-serif`;
      context.textAlign = "left";
      context.fillStyle = answer.label === "yes" ? ACCENT : MUTED;
      context.fillText(nameOf(name), left, y, width * 0.72);
      context.textAlign = "right";
      context.fillText(answer.label === "yes" ? percent(answer.prob) : LABELS[answer.label], left + width, y);
      context.textAlign = "left";
      y += text * 1.55;
    }
    y += text * 1.2;
  });
}
