/**
 * Textual inversions (arXiv 2208.01618): vectors that a prompt has where the rows of a word's tokens would be.
 * @module
 */
import { ModelFileError } from "./errors.ts";
import { sha256Of } from "./files.ts";
import { LIMITS } from "./limits.ts";
import { describeTensors } from "./lora.ts";
import type { ByPart } from "./manifest.ts";
import { isPickle, PICKLE } from "./pickle.ts";
import { openSafetensors } from "./safetensors.ts";
import type { TensorSource } from "./tensor_source.ts";
import { toFloat32 } from "./values.ts";

/** The vectors of a textual inversion's file, which is closed again. */
export interface EmbeddingFile {
  /** Its path. */
  readonly path: string;
  /** SHA-256 of its bytes, in hexadecimal digits. */
  readonly sha256: string;
  /** The word that the file itself names, if any. */
  readonly word?: string;
  /** For each of the model's text encoders its vectors, equally many, each as wide as that encoder. */
  readonly vectors: readonly (readonly Float32Array[])[];
}

/** The tensors for the two text encoders of Stable Diffusion XL. */
const PAIR = ["clip_l", "clip_g"] as const;

/** Of a pickle that was converted: the ids that its word had. */
const STRAY = /^string_to_token\./;

/** The name of the one tensor where it is not the word, as in diffusers. */
const NAMELESS = /^(?:emb_params|string_to_param\..*|clip_[lg])$/;

/** The width of the vectors that a textual inversion's tensor of this shape holds, and how many there are. */
export function vectorsOfShape(
  shape: readonly number[],
): { readonly count: number; readonly width: number } | undefined {
  const [count, width] = shape.length === 1 ? [1, shape[0]!] : shape;
  return count !== undefined && width !== undefined && shape.length <= 2 ? { count, width } : undefined;
}

/**
 * Reads the vectors in the file at `path`, as AUTOMATIC1111, diffusers and kohya's scripts store them, for a model of these
 * parts.
 * @throws {ModelNotFoundError} there is no such file
 * @throws {ModelFileError} the file is damaged, a pickle or no textual inversion, or has vectors of other widths
 */
export function openEmbedding(path: string, parts: ByPart<Pick<TensorSource, "tensors">>): EmbeddingFile {
  function fail(problem: string): never {
    throw new ModelFileError(path, problem);
  }
  if (isPickle(path)) {
    const convert = `safetensors.torch.save_file({"emb_params": vectors}, "name.safetensors")`;
    fail(`${PICKLE}; where you trust it, write its vectors to a file of their own with Python: ${convert}`);
  }
  using file = openSafetensors(path, { ignore: (name) => STRAY.test(name) });
  const { tensors } = file;
  const isPair = PAIR.every((name) => tensors.has(name));
  const infos = isPair ? PAIR.map((name) => tensors.get(name)!) : [...tensors.values()];
  if (!isPair && infos.length !== 1) {
    fail(
      `a textual inversion is one tensor, or clip_l and clip_g; the file has ${describeTensors([...tensors.keys()])}`,
    );
  }
  const found = infos.map(({ shape }) =>
    vectorsOfShape(shape) ?? fail(`its tensor is [${shape.join(", ")}], not vectors`)
  );
  const tables = [parts.text_encoder, parts.text_encoder_2].flatMap((part) =>
    part?.tensors.get("embeddings.token_embedding.weight")?.shape[1] ?? []
  );
  const [own, wanted] = [found.map(({ width }) => width).join(" and "), tables.join(" and ")];
  if (own !== wanted) {
    fail(
      `its vectors are ${own} wide, and those of this model's text encoder${tables.length > 1 ? "s" : ""} ${wanted}`,
    );
  }
  const [{ count }, second] = found as [typeof found[0], typeof found[1]?];
  if (second !== undefined && second.count !== count) {
    fail(`it has ${count} vectors for the first text encoder and ${second.count} for the second`);
  }
  if (count < 1 || count > LIMITS.vectors) fail(`it has ${count} vectors; 1 to ${LIMITS.vectors} are read`);
  const vectors = infos.map((info, i) => {
    const values = toFloat32(info, file.read(info.name));
    if (!values.every(Number.isFinite)) fail("it has values that are not finite numbers");
    const { width } = found[i]!;
    return Array.from({ length: count }, (_, at) => values.subarray(at * width, (at + 1) * width));
  });
  const { name } = infos[0]!;
  return { path, sha256: sha256Of(path), ...(!NAMELESS.test(name) && { word: name }), vectors };
}
