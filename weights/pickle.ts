/**
 * Weights in Python's pickle format, which are not read.
 * @module
 */
import { ModelFileError } from "./errors.ts";

export function isPickle(path: string): boolean {
  return /\.(?:ckpt|bin|pt|pth)$/i.test(path);
}

/**
 * Why a pickle is refused, and what to do about it.
 * @param load the call of diffusers' StableDiffusionPipeline that reads it
 */
export function pickleError(path: string, load: string): ModelFileError {
  return new ModelFileError(
    path,
    "a Python pickle can run any program when it is opened, so it is not read; where you trust it, " +
      `convert it with diffusers: StableDiffusionPipeline.${load}.save_pretrained("converted")`,
  );
}
