// One picture from the camera. It runs only while its window is open.

import { $ } from "./dom.js";

let stream = null;

const REASONS = {
  NotAllowedError: "The camera was not allowed. Allow it in the browser, or choose a file instead.",
  NotFoundError: "No camera was found. Choose a file instead.",
  NotReadableError: "Another program is using the camera.",
};

/** Open the camera's window. `onPhoto(blob)` gets the picture. */
export async function open(onPhoto) {
  const dialog = $("camera"), note = $("camera-note"), standing = note.dataset.text ?? note.textContent;
  note.dataset.text = standing;
  note.textContent = standing;
  $("shoot").disabled = true;
  dialog.showModal();
  $("shoot").onclick = async () => { onPhoto(await picture()); dialog.close(); };
  $("camera-close").onclick = () => dialog.close();
  dialog.onclose = stop;
  if (!navigator.mediaDevices) {
    note.textContent = "The browser gives the camera only to https:// and localhost. Choose a file instead.";
    return;
  }
  try {
    const granted = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } } });
    if (!dialog.open) { granted.getTracks().forEach((track) => track.stop()); return; }
    stream = granted;
    $("video").srcObject = stream;
    await $("video").play();
    $("shoot").disabled = false;
    $("shoot").focus();
  } catch (error) {
    note.textContent = REASONS[error.name] ?? "The camera does not start.";
  }
}

function picture() {
  const video = $("video"), canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0); // as others see it: only the viewfinder is mirrored
  return new Promise((resolve) => { canvas.toBlob(resolve, "image/jpeg", 0.95); });
}

function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $("video").srcObject = null;
}
