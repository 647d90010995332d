// Talking to the service. Every failure becomes a Failure with a code, so that the page can say what is true.

const TRIES_WHILE_BUSY = 6;

export class Failure extends Error {
  constructor(code, message, status = 0, retryAfter = 0) {
    super(message);
    Object.assign(this, { code, status, retryAfter });
  }
}

let key = "";

/** Use this API key from now on; it lives in this page only. */
export function useKey(value) { key = value; }

async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("offline", "The service cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  const seconds = Number(response.headers.get("Retry-After")) || 1;
  const body = await response.json().catch(() => null);
  const told = body?.error ?? { code: "http", message: `The service answered ${response.status}.` };
  throw new Failure(told.code, told.message, response.status, seconds);
}

export const getJson = async (path) => (await request(path)).json();

/** Send a photo and get what the service says of it. */
export const postPhoto = async (path, blob) =>
  (await request(path, { method: "POST", body: blob, headers: { "Content-Type": "application/octet-stream" } })).json();

export const getBlob = async (path) => (await request(path)).blob();

/** Send one photo; while the service is busy wait as long as it asks, telling `onWait` the seconds. */
export async function analyze(photo, settings, { onWait, signal }) {
  const query = new URLSearchParams({ profile: settings.profile, abstain: settings.abstain, maps: true });
  const options = { method: "POST", body: photo.blob, signal, headers: { "Content-Type": "application/octet-stream" } };
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await (await request(`/v1/analyze?${query}`, options)).json();
    } catch (error) {
      const busy = error instanceof Failure && (error.status === 429 || (error.status === 503 && error.code !== "timed_out"));
      if (!busy || attempt === TRIES_WHILE_BUSY) throw error;
      onWait(error.retryAfter);
      await pause(error.retryAfter * 1000, signal);
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(new DOMException("Stopped", "AbortError")); }, { once: true });
  });
}
