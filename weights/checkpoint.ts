/**
 * Opens a model in one file: a safetensors checkpoint of Stable Diffusion 1.x in the original naming.
 * @module
 */
import { basename, dirname, join } from "@std/path";
import { otherKind } from "./checkpoint_kinds.ts";
import { ModelFileError, ModelNotFoundError } from "./errors.ts";
import { kindOf } from "./files.ts";
import { isLdmPart, LDM_PREFIXES, ldmNaming } from "./ldm_names.ts";
import type { Model, ModelConfig, ModelOptions } from "./model.ts";
import { renameTensors } from "./names.ts";
import type { PartName } from "./part.ts";
import { openSafetensors, type SafetensorsSource } from "./safetensors.ts";
import { sd14Defaults } from "./sd14.ts";
import { configOfShapes } from "./shape_config.ts";
import type { TensorSource } from "./tensor_source.ts";
import { readTokenizer, type TokenizerFiles } from "./tokenizer_files.ts";

/** What the parts are called in errors. */
const TITLES: Readonly<Record<PartName, string>> = { text_encoder: "text encoder", unet: "UNet", vae: "VAE" };

/**
 * Opens the checkpoint at `path`.
 * @throws {ModelNotFoundError} there is no tokenizer: neither given nor in a folder beside the file
 * @throws {ModelFileError} the file is damaged, no checkpoint, or one of another family
 */
export function openCheckpoint(path: string, options: ModelOptions = {}): Model {
  using stack = new DisposableStack();
  const file = stack.use(openSafetensors(path, { ignore: (name) => !isLdmPart(name) }));
  const naming = ldmNaming(file.tensors.keys());
  const open = (part: PartName): TensorSource => {
    const source = renameTensors(file, naming[part]);
    return { ...source, label: `${path} (${TITLES[part]})` };
  };
  const [textEncoder, unet, vae] = [open("text_encoder"), open("unet"), open("vae")];
  checkKind(path, file, unet);
  for (const [part, { tensors }] of [["text_encoder", textEncoder], ["unet", unet], ["vae", vae]] as const) {
    if (tensors.size > 0) continue;
    const names = `${LDM_PREFIXES[part]}*`;
    throw new ModelFileError(
      path,
      `the file holds no ${TITLES[part]} (${names}), so it is no checkpoint of a whole model`,
    );
  }
  const config = configOfShapes({ textEncoder: textEncoder.tensors, unet: unet.tensors, vae: vae.tensors });
  const tokenizer = findTokenizer(path, options.tokenizer);
  const opened = stack.move();
  return {
    name: basename(path).replace(/\.safetensors$/i, ""),
    directory: dirname(path),
    config: predictsVelocity(file) ? withVelocity(config) : config,
    textEncoder,
    unet,
    vae,
    tokenizer,
    defaults: sd14Defaults,
    [Symbol.dispose]: () => opened.dispose(),
  };
}

function checkKind(path: string, file: SafetensorsSource, unet: TensorSource): void {
  const kind = otherKind([...file.tensors.keys(), ...file.ignored], unet.tensors);
  if (kind !== undefined) {
    const wanted = "and only whole text-to-image models of Stable Diffusion 1.x can be drawn with";
    throw new ModelFileError(path, `this is ${kind}, ${wanted}`);
  }
}

/**
 * Whether the UNet predicts velocities (arXiv 2202.00512): its shapes are those of one that predicts noise. Files say
 * so in their metadata (Stability-AI/ModelSpec) or by a tensor of that name.
 */
function predictsVelocity({ metadata, ignored }: SafetensorsSource): boolean {
  return /^v/i.test(metadata.get("modelspec.prediction_type") ?? "") || ignored.includes("v_pred");
}

function withVelocity(config: ModelConfig): ModelConfig {
  return { ...config, scheduler: { ...config.scheduler, prediction_type: "v_prediction" } };
}

/** The tokenizer in `folder`, or in a folder `tokenizer` beside the file: the file itself has none. */
function findTokenizer(path: string, folder: string = join(dirname(path), "tokenizer")): TokenizerFiles {
  if (kindOf(folder) === "folder") return readTokenizer(folder);
  throw new ModelNotFoundError(
    `${path} holds no tokenizer, and there is no folder ${folder}: give it CLIP's with --tokenizer DIR, the folder ` +
      "tokenizer of any Stable Diffusion 1.x model (vocab.json and merges.txt, or tokenizer.json)",
  );
}
