/**
 * The text that AUTOMATIC1111's web UI puts into a picture under `parameters`, and other tools after it
 * (`create_infotext` in its modules/processing.py, `parse_generation_parameters` in modules/infotext_utils.py).
 * @module
 */

/** A prompt, what to steer away from, and settings by the names that the web UI gives them, in their order. */
export interface Infotext {
  /** What to draw. */
  readonly prompt: string;
  /** What to steer away from; the line is left out when it is empty. */
  readonly negativePrompt: string;
  /** Settings; values are texts. */
  readonly settings: ReadonlyMap<string, string>;
}

const NEGATIVE = "Negative prompt:";

/** A setting and what follows it; a letter is Python's `\w`. */
const SETTING = /\s*([\p{L}\p{N}_][\p{L}\p{N}_ \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/gu;

/** Fewer settings than this are taken for a line of the prompt. */
const FEWEST_SETTINGS = 3;

/** Ends the settings of stable-diffusion.cpp: JSON, whose commas and colons would be taken for settings. */
const SDCPP = ", SDCPP: {";

/** The text, of as many lines as the prompts have and one for the settings. */
export function formatInfotext({ prompt, negativePrompt, settings }: Infotext): string {
  const negative = negativePrompt === "" ? "" : `\n${NEGATIVE} ${negativePrompt}`;
  const line = Array.from(settings, ([name, value]) => `${name}: ${quote(value)}`).join(", ");
  return `${prompt}${negative}\n${line}`.trim();
}

/** The settings are the last line, when it looks like them; the negative prompt begins with the line that says so. */
export function parseInfotext(text: string): Infotext {
  const lines = text.trim().split("\n").map((line) => line.trim());
  const last = (lines.at(-1) ?? "").split(SDCPP)[0]!;
  const found = [...last.matchAll(SETTING)];
  const prompts = found.length < FEWEST_SETTINGS ? lines : lines.slice(0, -1);
  const begins = prompts.findIndex((line) => line.startsWith(NEGATIVE));
  const [positive, negative] = begins < 0 ? [prompts, []] : [prompts.slice(0, begins), prompts.slice(begins)];
  const withoutName = (line: string) => line.startsWith(NEGATIVE) ? line.slice(NEGATIVE.length).trim() : line;
  return {
    prompt: positive.join("\n"),
    negativePrompt: negative.map(withoutName).join("\n").trimStart(),
    settings: found.length < FEWEST_SETTINGS
      ? new Map()
      : new Map(found.map(([, name, value]) => [name!, unquote(value!)])),
  };
}

function quote(value: string): string {
  return /[,\n:]/.test(value) ? JSON.stringify(value) : value;
}

function unquote(value: string): string {
  if (!/^".*"$/s.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
