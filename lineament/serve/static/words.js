// The page's words: attribute names as people say them, facial parts, errors.

const SPECIAL = {
  "5_o_Clock_Shadow": "5 o’clock shadow", "Mouth_Slightly_Open": "Mouth slightly open", "No_Beard": "No beard",
  "Wearing_Earrings": "Earrings", "Wearing_Hat": "Hat", "Wearing_Lipstick": "Lipstick", "Wearing_Necklace": "Necklace", "Wearing_Necktie": "Necktie",
  "Blurry": "Blurry picture",
};

export const nameOf = (attribute) => SPECIAL[attribute] ?? attribute.charAt(0) + attribute.slice(1).toLowerCase().replaceAll("_", " ");

const PARTS = { "Ear": "Ears", "Lower Face": "Beard and jaw", "Object": "Whole face, things worn" };

export const partOf = (group) => PARTS[group] ?? group;

/** Why nothing is told: the record's `because`, in words. */
export const BECAUSE = { small: "too small", blurred: "too blurred", near: "not sure enough" };

export const LABELS = { yes: "yes", no: "no", cannot_tell: "cannot tell" };

/** Whole percent, never claiming 0 or 100 for what is only close to it. */
export const percent = (prob) => (prob < 0.005 ? "<1 %" : prob >= 0.995 ? ">99 %" : `${Math.round(prob * 100)} %`).replace(" ", "\u202f");

export const PROFILE_NOTES = {
  default: "Default leaves out eleven attributes that judge or profile a person.",
  all: "All adds what annotators guessed about celebrities, such as Attractive, Male or Young. It says nothing about who someone is.",
};

/** What a map of this kind shows, in words; all but the class-activation map, which has two colours. */
export function mapWords(kind, { group }) {
  return {
    region: `the region it was read from (${partOf(group).toLowerCase()}).`,
    group_attention: `where the network looked for answers about ${partOf(group).toLowerCase()}.`,
    branch_activation: "what the network saw when it answered this kind of question; one picture for many answers.",
    activation: "what the network saw; one picture for all answers.",
  }[kind] ?? "where the network looked.";
}

const TITLES = {
  offline: "The service does not answer", too_large: "Too large", body_bytes: "Too large", unsupported: "A kind of picture that is not read",
  not_a_picture: "Not a picture", unreadable: "Damaged", truncated: "Incomplete", empty: "Empty", timed_out: "Took too long", queue: "Busy",
  requests: "Busy", requests_per_client: "Busy", buffered_bytes: "Busy", too_many_faces: "Too many faces", api_key: "A key is needed", worker_lost: "It failed on this photo",
};

export const titleOf = (code) => TITLES[code] ?? "That did not work";

/** "Smiling, bangs and earrings"; the first word keeps its capital. */
export function list(names) {
  const words = names.map((name, index) => (index ? name.charAt(0).toLowerCase() + name.slice(1) : name));
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** What limits an answer about this face, in words; what is small or blurred the model's card says. */
export function qualityOf(quality, { min_eye_distance: least = {}, min_sharpness: blurred = {} }) {
  const words = [`${Math.round(quality.eye_distance)} pixels between the eyes`];
  if (quality.eye_distance < (least["*"] ?? 0)) words.push("a small face: answers are less certain");
  if (quality.sharpness < (blurred["*"] ?? 0)) words.push("not sharp");
  if (Math.abs(quality.yaw) >= 20) words.push(`turned ${Math.round(Math.abs(quality.yaw))}° to their ${quality.yaw > 0 ? "left" : "right"}`);
  if (Math.abs(quality.roll) >= 15) words.push(`tilted ${Math.round(Math.abs(quality.roll))}°`);
  return words.join(" · ");
}
