/**
 * Files that are not read: weights in Python's pickle format, and what was renamed or downloaded wrongly.
 * @module
 */
import { ModelFileError } from "./errors.ts";

export function isPickle(path: string): boolean {
  return /\.(?:ckpt|bin|pt|pth)$/i.test(path);
}

/** Why no pickle is read. */
export const PICKLE = "a Python pickle can run any program when it is opened, so it is not read";

/**
 * Why a pickle is refused, and what to do about it.
 * @param load the call that reads it, of diffusers' class `reader`
 */
export function pickleError(path: string, load: string, reader = "StableDiffusionPipeline"): ModelFileError {
  return refusal(path, `with diffusers: ${reader}.${load}.save_pretrained("converted")`);
}

/** The same of a pickle that holds nothing but tensors, or tensors under one name. */
export function plainPickleError(path: string): ModelFileError {
  const [from, to] = [path, path.replace(/\.\w+$/, ".safetensors")].map((name) => JSON.stringify(name));
  return refusal(
    path,
    "in Python: import torch; from safetensors.torch import save_file; " +
      `t = torch.load(${from}, map_location="cpu", weights_only=True); t = t.get("params_ema", t.get("params", t)); ` +
      `save_file({k: v.contiguous() for k, v in t.items()}, ${to})`,
  );
}

function refusal(path: string, how: string): ModelFileError {
  return new ModelFileError(
    path,
    `${PICKLE}; where you trust it, convert it ${how}`,
  );
}

const CONVERT = "; where you trust it, convert it with diffusers";

/** Formats by how their files begin. */
const FORMATS: readonly (readonly [begins: RegExp, is: string, advice?: string])[] = [
  [/^PK/, "a zip archive (a PyTorch .ckpt or .bin?)", CONVERT],
  [/^\x80[^ -~]/, "a Python pickle (a PyTorch .ckpt or .bin?)", CONVERT],
  [/^GGUF/, "a GGUF file (weights of stable-diffusion.cpp?)"],
  [/^version https:\/\/git-lfs/, "a Git LFS pointer", "; `git lfs pull` fetches the file itself"],
  [/^\s*<(?:!doctype|html)/i, "a web page", "; download the file itself"],
];

/** What a file is that should be `wanted`, told by its first characters; undefined when nobody knows. */
export function otherFormat(start: string, wanted: string): string | undefined {
  const format = FORMATS.find(([begins]) => begins.test(start));
  return format && `this is ${format[1]}, not ${wanted}${format[2] ?? ""}`;
}
