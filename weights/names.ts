/**
 * Canonical tensor names: those of today's diffusers and transformers, whatever age the checkpoint has.
 * A naming is a {@link Rename} for each part, so another one (such as that of single-file checkpoints) is another
 * set of functions here.
 * @module
 */
import { ModelFileError } from "./errors.ts";
import { shown } from "./json.ts";
import { lookUp, type TensorInfo, type TensorSource } from "./tensor_source.ts";

/** Maps a checkpoint's name to the canonical one; undefined for a tensor that no model needs. */
export type Rename = (name: string) => string | undefined;

/**
 * Tensors beside a text encoder's own: a table of 0, 1, 2, ... that old exporters wrote, and what else CLIP consists of,
 * where the whole of it was saved.
 */
const STRAYS = /^(?:embeddings\.position_ids$|logit_scale$|text_projection\b|visual_projection\.|vision_model\.)/;

/** Text encoder: transformers 5 dropped the prefix `text_model.`. */
export function textEncoderName(name: string): string | undefined {
  const bare = name.replace(/^text_model\./, "");
  return STRAYS.test(bare) ? undefined : bare;
}

/** UNet: its names never changed. */
export function unetName(name: string): string {
  return name;
}

const VAE_ATTENTION: Readonly<Record<string, string>> = {
  query: "to_q",
  key: "to_k",
  value: "to_v",
  proj_attn: "to_out.0",
};

/** VAE: early versions of diffusers had other names for the attention's layers. */
export function vaeName(name: string): string {
  return name.replace(
    /(?<=\.attentions\.\d+\.)(query|key|value|proj_attn)(?=\.(?:weight|bias)$)/,
    (layer) => VAE_ATTENTION[layer]!,
  );
}

/**
 * The same tensors under canonical names. An attention's linear layer that was stored as a 1x1 convolution,
 * `[out, in, 1, 1]`, is seen as the matrix that it is. Disposing of the result disposes of `source`.
 * @throws {ModelFileError} two tensors have one canonical name
 */
export function renameTensors(source: TensorSource, rename: Rename): TensorSource {
  const tensors = new Map<string, TensorInfo>();
  const oldNames = new Map<string, string>();
  for (const [oldName, info] of source.tensors) {
    const name = rename(oldName);
    if (name === undefined) continue;
    if (tensors.has(name)) {
      throw new ModelFileError(
        source.label,
        `tensors ${shown(oldNames.get(name))} and ${shown(oldName)} are two names of one weight`,
      );
    }
    tensors.set(name, { ...info, name, shape: canonicalShape(name, info) });
    oldNames.set(name, oldName);
  }
  return {
    label: source.label,
    tensors,
    read: (name, options) => source.read(lookUp(source.label, oldNames, name), options),
    [Symbol.dispose]: () => source[Symbol.dispose](),
  };
}

function canonicalShape(name: string, info: TensorInfo): readonly number[] {
  const [rows, columns, ...kernel] = info.shape;
  const isAttention = /\.to_(?:q|k|v|out\.0)\.weight$/.test(name);
  return isAttention && kernel.join() === "1,1" ? [rows!, columns!] : info.shape;
}
