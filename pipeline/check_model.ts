/**
 * Whether a model's files are those of a model that can be drawn with.
 * @module
 */
import { byPart, partsOf, type TensorSource } from "../weights/mod.ts";
import type { Model } from "./model.ts";
import { readVaeConfig, type VaeConfig } from "./nets/config.ts";
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
  for (const part of partsOf(parts)) if (part !== "vae") checkTensors(parts[part]!, recorders[part]!.shapes);
  checkVae(parts.vae, readVaeConfig(config.vae));
}

/**
 * Holds a VAE's tensors against its configuration.
 *
 * @throws {ModelFileError} when they are missing, misshapen or unknown.
 */
export function checkVae(source: TensorSource, config: VaeConfig): void {
  const recorder = new ShapeRecorder();
  readDecoder(recorder, config);
  // It may come without its encoder, which only starting from a picture needs.
  if (source.tensors.keys().some((name) => name.startsWith("encoder."))) readEncoder(recorder, config);
  checkTensors(source, recorder.shapes);
}
