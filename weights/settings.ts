/**
 * The settings that a model asks for itself.
 * @module
 */
import { ModelFileError } from "./errors.ts";
import { inside, kindOf, readJson } from "./files.ts";
import { type JsonObject, shown } from "./json.ts";
import { LIMITS } from "./limits.ts";
import type { ModelSettings } from "./model.ts";

/**
 * Reads `denoise.json` from a model folder, which may have none.
 * @param vae the VAE's `config.json`
 * @throws {ModelFileError} a setting is out of range
 */
export function readSettings(directory: string, vae: JsonObject): ModelSettings {
  const path = inside(directory, "denoise.json");
  if (kindOf(path) === "nothing") return {};
  const { latent_channels: channels = 4 } = vae;
  const rules: Readonly<Record<keyof ModelSettings, readonly [holds: (value: unknown) => boolean, want: string]>> = {
    steps: [(value) => isCount(value) && value <= LIMITS.steps, `a whole number from 1 to ${LIMITS.steps}`],
    guidance: [
      (value) => typeof value === "number" && value >= 0 && value <= LIMITS.guidance,
      `a number from 0 to ${LIMITS.guidance}`,
    ],
    width: [isCount, "a whole number above 0"],
    height: [isCount, "a whole number above 0"],
    longPrompt: [(value) => value === "chunk" || value === "truncate", "chunk or truncate"],
    knows: [
      (value) => typeof value === "string" && value.length <= LIMITS.line,
      `a text of up to ${LIMITS.line} characters`,
    ],
    latentToRgb: [
      (value) => isColourMap(value, channels),
      `three numbers for each of ${shown(channels)} channels and a constant`,
    ],
  };
  const own = readJson(path);
  const settings = Object.entries(rules).flatMap(([key, [holds, want]]) => {
    const value = own[key];
    if (value === undefined) return [];
    if (!holds(value)) throw new ModelFileError(path, `${key} is ${shown(value)}, not ${want}`);
    return [[key, value]];
  });
  return Object.fromEntries(settings);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number > 0;
}

function isColourMap(value: unknown, channels: unknown): boolean {
  return Array.isArray(value) && value.length - 1 === channels &&
    value.every((row) => Array.isArray(row) && row.length === 3 && row.every(Number.isFinite));
}
