/**
 * The settings that a model asks for itself.
 * @module
 */
import { join } from "@std/path";
import { ModelFileError } from "./errors.ts";
import { isFile, readJson } from "./files.ts";
import { type JsonObject, shown } from "./json.ts";
import type { ModelSettings } from "./model.ts";

/**
 * Reads `denoise.json` from a model folder, which may have none.
 * @param vae the VAE's `config.json`
 * @throws {ModelFileError} a setting is out of range
 */
export function readSettings(directory: string, vae: JsonObject): ModelSettings {
  const path = join(directory, "denoise.json");
  if (!isFile(path)) return {};
  const { latent_channels: channels = 4 } = vae;
  const rules: Readonly<Record<keyof ModelSettings, readonly [holds: (value: unknown) => boolean, want: string]>> = {
    steps: [isCount, "a whole number above 0"],
    guidance: [(value) => typeof value === "number" && value >= 0 && value < Infinity, "a number, 0 or more"],
    width: [isCount, "a whole number above 0"],
    height: [isCount, "a whole number above 0"],
    longPrompt: [(value) => value === "chunk" || value === "truncate", "chunk or truncate"],
    knows: [(value) => typeof value === "string", "a text"],
    latentToRgb: [
      (value) => isColourMap(value, channels),
      `three numbers for each of ${channels} channels and a constant`,
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

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && value as number > 0;
}

function isColourMap(value: unknown, channels: unknown): boolean {
  return Array.isArray(value) && value.length - 1 === channels &&
    value.every((row) => Array.isArray(row) && row.length === 3 && row.every(Number.isFinite));
}
