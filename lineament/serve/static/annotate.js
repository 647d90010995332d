// The annotated PNG: the photo with its boxes, and beside it what is said yes to. Drawn here; nothing goes back to the service.

import { nameOf, percent } from "./words.js";

const INK = "#1e2226", MUTED = "#5c6269", PAPER = "#fffdf9", ACCENT = "#0f6b5c", LIGHT = "#6fe0c6";

/** Return a PNG blob of a photo with its answers: beside it where they fit, else below in columns. */
export function annotated(photo) {
  const { image, faces } = photo.record, scale = photo.bitmap.width / image.width;
  const width = photo.bitmap.width, height = photo.bitmap.height;
  const text = Math.max(14, Math.round(Math.max(width, height) / 46)), margin = Math.round(text * 1.4), column = text * 18;
  const lists = faces.map((face) => Object.entries(face.attributes).filter(([, answer]) => answer.label === "yes"));
  const tall = lists.map((list) => Math.round((list.length * 1.55 + 3) * text));
  const beside = faces.length > 0 && tall.reduce((sum, one) => sum + one, margin) <= height;
  const across = beside ? 1 : Math.max(1, Math.floor(width / column));
  const rows = beside ? [] : Array.from({ length: Math.ceil(faces.length / across) }, (_, row) => Math.max(...tall.slice(row * across, (row + 1) * across)));
  const canvas = document.createElement("canvas");
  canvas.width = beside ? width + column : Math.max(width, faces.length ? column : 0);
  canvas.height = beside ? height : height + (faces.length ? margin + rows.reduce((sum, one) => sum + one, 0) : 0);
  const context = canvas.getContext("2d");
  context.fillStyle = PAPER;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(photo.bitmap, 0, 0);
  faces.forEach((face, index) => drawBox(context, face.box_xyxy.map((value) => value * scale), index, text));
  let y = beside ? margin : height + margin;
  lists.forEach((list, index) => {
    const place = index % across;
    drawList(context, list, index, (beside ? width : place * column) + margin, y + text, text, column - 2 * margin);
    if (beside) y += tall[index];
    else if (place === across - 1) y += rows[Math.floor(index / across)];
  });
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
  const above = y2 - y1 < 5 * text && y1 > 1.5 * text ? y1 - 1.5 * text : y1; // a small face stays free
  context.fillStyle = LIGHT;
  context.fillRect(x1, above, text * 1.5, text * 1.5);
  context.fillStyle = "#06211b";
  context.font = `600 ${text}px system-ui, sans-serif`;
  context.fillText(String(index + 1), x1 + text * 0.45, above + text * 1.12);
}

function drawList(context, answers, index, left, top, text, width) {
  context.fillStyle = INK;
  context.font = `500 ${text * 1.25}px Georgia, serif`;
  context.fillText(`Face ${index + 1}`, left, top);
  let y = top + text * 1.8;
  context.font = `${text}px system-ui, sans-serif`;
  for (const [name, answer] of answers) {
    context.fillStyle = ACCENT;
    context.fillText(nameOf(name), left, y, width * 0.78);
    context.fillStyle = MUTED;
    context.textAlign = "right";
    context.fillText(percent(answer.prob), left + width, y);
    context.textAlign = "left";
    y += text * 1.55;
  }
}
