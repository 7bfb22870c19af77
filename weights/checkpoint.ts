/**
 * Opens a model in one file: a safetensors checkpoint in the original naming of Stable Diffusion 1.x, 2.x or XL.
 * @module
 */
import { basename, dirname } from "@std/path";
import { otherKind } from "./checkpoint_kinds.ts";
import { ModelFileError, ModelNotFoundError } from "./errors.ts";
import { inside, kindOf } from "./files.ts";
import type { JsonObject } from "./json.ts";
import { LIMITS } from "./limits.ts";
import {
  type ByPart,
  byPart,
  checkpointNaming,
  isNeeded,
  PART_NAMES,
  partEntry,
  partsWith,
  renameOf,
  TOKENIZER,
} from "./manifest.ts";
import type { ModelFiles, ModelOptions } from "./model.ts";
import { renameTensors } from "./names.ts";
import { openSafetensors, type SafetensorsSource } from "./safetensors.ts";
import { configOfShapes, contextWidth } from "./shape_config.ts";
import type { TensorSource } from "./tensor_source.ts";
import { forOpenClip, readTokenizer, type TokenizerFiles } from "./tokenizer_files.ts";
import { openVae } from "./vae.ts";
import { toFloat32 } from "./values.ts";

/**
 * Opens the checkpoint at `path`.
 * @throws {ModelNotFoundError} there is no tokenizer: neither given nor in a folder beside the file
 * @throws {ModelFileError} the file is damaged, not a checkpoint, or one of another family
 */
export function openCheckpoint(path: string, options: ModelOptions = {}): ModelFiles {
  using stack = new DisposableStack();
  const file = stack.use(openSafetensors(path, { ignore: (name) => !isNeeded(name) }));
  const vae = options.vae === undefined ? undefined : openVae(options.vae);
  if (vae) stack.use(vae.source);
  const parts = splitCheckpoint(file, vae?.source);
  checkKind(path, file, parts);
  const config = configOfShapes(parts);
  const tokenizer = findTokenizer(path, options.tokenizer);
  const opened = stack.move();
  return {
    name: basename(path).replace(/\.safetensors$/i, ""),
    directory: dirname(path),
    config: {
      ...config,
      ...(vae && { vae: vae.config(config.vae) }),
      scheduler: { ...config.scheduler, ...trainingOf(file, parts.unet) },
    },
    parts,
    tokenizer: isOpenClip(file) ? forOpenClip(tokenizer) : tokenizer,
    ...(parts.text_encoder_2 && { tokenizer_2: forOpenClip(tokenizer) }),
    settings: {},
    ...(vae && { givenVae: vae.given }),
    [Symbol.dispose]: () => opened.dispose(),
  };
}

/** The parts of a model in one file, whose tensors are all needed, and perhaps another `vae`; what is not held is empty. */
export function splitCheckpoint(file: TensorSource, vae?: TensorSource): ByPart<TensorSource> {
  const namings = new Map(partsWith(() => true).map((part) => [part, checkpointNaming(part, file.tensors.keys())]));
  return byPart((part) => {
    if (part === "vae" && vae) return vae;
    const naming = namings.get(part);
    const source = renameTensors(file, naming ? renameOf(naming, file.tensors.keys()) : () => undefined);
    return { ...source, label: `${file.label} (${partEntry(part).title})` };
  }, partsWith((part) => namings.get(part) !== undefined));
}

function checkKind(path: string, file: SafetensorsSource, parts: ByPart<TensorSource>): void {
  const kind = otherKind([...file.tensors.keys(), ...file.ignored], parts.unet.tensors);
  if (kind !== undefined) {
    const wanted = "and only whole text-to-image models of Stable Diffusion 1.x, 2.x and XL can be drawn with";
    throw new ModelFileError(path, `this is ${kind.said}, ${wanted}`);
  }
  const absent = PART_NAMES.find((part) => parts[part].tensors.size === 0);
  if (absent === undefined) return;
  const { title, checkpoint } = partEntry(absent);
  const names = checkpoint.map(({ prefix }) => `${prefix}*`).join(" or ");
  throw new ModelFileError(path, `the file holds no ${title} (${names}), so it is not a checkpoint of a whole model`);
}

/** Where the norm before the last transformer's biases spread further than this, a UNet of version 2 predicts velocities. */
const VELOCITY_SPREAD = 0.09;

/**
 * How a UNet was trained where its shapes do not tell: whether it predicts velocities (arXiv 2202.00512), and whether
 * its last timestep is pure noise (arXiv 2305.08891). Files say so in their metadata (Stability-AI/ModelSpec) or by
 * tensors of these names; of version 2, whose own files say nothing, the weights tell the two kinds apart.
 */
function trainingOf({ metadata, ignored }: SafetensorsSource, unet: TensorSource): JsonObject {
  const said = metadata.get("modelspec.prediction_type");
  const terminal = ignored.includes("ztsnr");
  const velocity = said === undefined
    ? terminal || ignored.includes("v_pred") || (contextWidth(unet.tensors) === 1024 && spreadsLikeVelocity(unet))
    : /^v/i.test(said);
  return {
    ...(velocity && { prediction_type: "v_prediction" }),
    // Made for trailing steps, which begin at the last timestep; PNDM would divide by its signal of 0.
    ...(terminal && { _class_name: "DDIMScheduler", rescale_betas_zero_snr: true, timestep_spacing: "trailing" }),
  };
}

function spreadsLikeVelocity(unet: TensorSource): boolean {
  const last = [...unet.tensors.values()].findLast(({ name }) =>
    /^up_blocks\..*transformer_blocks\.0\.norm1\.bias$/.test(name)
  );
  if (last === undefined || last.bytes > LIMITS.jsonBytes) return false;
  const values = toFloat32(last, unet.read(last.name));
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length) > VELOCITY_SPREAD;
}

function isOpenClip({ tensors }: SafetensorsSource): boolean {
  return [...tensors.keys()].some((name) => name.startsWith("cond_stage_model.model."));
}

/**
 * The tokenizer in `folder`, or in a folder `tokenizer` beside the file: the file itself has none. All of CLIP's have
 * the same vocabulary.
 */
function findTokenizer(path: string, given: string | undefined): TokenizerFiles {
  const folder = given ?? inside(dirname(path), TOKENIZER);
  if (kindOf(folder) === "folder") return readTokenizer(folder);
  throw new ModelNotFoundError(
    `${path} holds no tokenizer, and there is no folder ${folder}: give it CLIP's with --tokenizer DIR, the folder ` +
      "tokenizer of any Stable Diffusion model (vocab.json and merges.txt, or tokenizer.json)",
  );
}
