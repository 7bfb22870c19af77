/**
 * Whether a model's files are those of a model that can be drawn with.
 * @module
 */
import { byPart, partsOf } from "../weights/mod.ts";
import type { Model } from "./model.ts";
import { readVaeConfig } from "./nets/config.ts";
import { checkTensors, ShapeRecorder } from "./nets/shapes.ts";
import { readDecoder, readEncoder } from "./nets/vae.ts";

/**
 * Reads a model's configurations and holds its parts against them; no tensor is read.
 *
 * @throws {ModelFileError} when tensors are missing, misshapen or unknown, or the model is of a kind that is not supported.
 */
export function checkModel({ family, config, parts }: Pick<Model, "family" | "config" | "parts">): void {
  const recorders = byPart(() => new ShapeRecorder(), partsOf(parts));
  family.read(recorders, config);
  const vae = readVaeConfig(config.vae);
  readDecoder(recorders.vae, vae);
  // It may come without its encoder, which only starting from a picture needs.
  if ([...parts.vae.tensors.keys()].some((name) => name.startsWith("encoder."))) readEncoder(recorders.vae, vae);
  for (const part of partsOf(parts)) checkTensors(parts[part]!, recorders[part]!.shapes);
}
