/**
 * The parts that models are made of, as data: where a folder and a single file have them, and how they name tensors.
 * Folders, checkpoints, downloads and listings all read this table.
 * @module
 */
import { openClipNames, unetNames, vaeNames } from "./ldm_names.ts";
import { type Rename, textEncoderName, vaeName } from "./names.ts";

/** How the tensors of a part are named. */
export interface Naming {
  /** What the part's names begin with; it is cut off before they are renamed. */
  readonly prefix: string;
  /** Tensors that no model needs, by their names after the prefix. */
  readonly stray?: RegExp;
  /** The renaming of a file that has these names, all without the prefix. */
  readonly rename: (names: readonly string[]) => Rename;
}

interface PartEntry {
  /** What errors call it. */
  readonly title: string;
  /** What the names of its weight files begin with. */
  readonly stem: "model" | "diffusion_pytorch_model";
  /** The naming in a folder of diffusers. */
  readonly folder: Naming;
  /** The namings in a single file; a file has at most one of them. */
  readonly checkpoint: readonly Naming[];
  /** Whether there are models without it. */
  readonly optional?: true;
  /** The folder of the tokenizer whose texts it reads. */
  readonly tokenizer?: string;
}

/**
 * Tensors beside a text encoder's own: a table of 0, 1, 2, ... that old exporters wrote, and the rest of CLIP where
 * all of it was saved.
 */
const CLIP_STRAYS =
  /^(?:text_model\.)?(?:embeddings\.position_ids$|logit_scale$|text_projection\b|visual_projection\.|vision_model\.)/;

const clip = { stray: CLIP_STRAYS, rename: () => textEncoderName };

/** CLIP's text encoder whose pooled output is read, too: its projection is no stray. */
const projectedClip = {
  stray: /^(?:(?:text_model\.)?embeddings\.position_ids|logit_scale)$/,
  rename: () => textEncoderName,
};

/** Every part, by the name of its folder. */
export const PARTS = {
  text_encoder: {
    title: "text encoder",
    stem: "model",
    tokenizer: "tokenizer",
    folder: { prefix: "", ...clip },
    checkpoint: [
      { prefix: "cond_stage_model.transformer.", ...clip },
      { prefix: "conditioner.embedders.0.transformer.", ...clip },
      // Stable Diffusion 2 reads the last layer but one: its OpenCLIP's 24th layer never runs.
      {
        prefix: "cond_stage_model.model.",
        stray: /^(?:logit_scale|text_projection|attn_mask)$|^transformer\.resblocks\.23\./,
        rename: openClipNames,
      },
    ],
  },
  text_encoder_2: {
    title: "second text encoder",
    stem: "model",
    tokenizer: "tokenizer_2",
    folder: { prefix: "", ...projectedClip },
    checkpoint: [
      { prefix: "conditioner.embedders.1.model.", stray: /^(?:logit_scale|attn_mask)$/, rename: openClipNames },
    ],
    optional: true,
  },
  unet: {
    title: "UNet",
    stem: "diffusion_pytorch_model",
    folder: { prefix: "", rename: () => (name: string): string => name },
    checkpoint: [{ prefix: "model.diffusion_model.", rename: unetNames }],
  },
  vae: {
    title: "VAE",
    stem: "diffusion_pytorch_model",
    folder: { prefix: "", rename: () => vaeName },
    checkpoint: [{ prefix: "first_stage_model.", stray: /^(?:loss|model_ema)\./, rename: vaeNames }],
  },
} as const satisfies Readonly<Record<string, PartEntry>>;

/** A part, as its folder is called. */
export type PartName = keyof typeof PARTS;

/** A part that every model has. */
type CommonPart = { [P in PartName]: (typeof PARTS)[P] extends { optional: true } ? never : P }[PartName];

/** Something of each part of a model. */
export type ByPart<T> = Readonly<Record<CommonPart, T> & Partial<Record<Exclude<PartName, CommonPart>, T>>>;

/** The parts in the order in which they are opened. */
const ALL_PARTS = Object.keys(PARTS) as readonly PartName[];

/** The parts that every model has. */
export const PART_NAMES = ALL_PARTS.filter((part) => !partEntry(part).optional) as readonly CommonPart[];

/** The folder of the first text encoder's tokenizer. */
export const TOKENIZER = "tokenizer";

/** The parts of a model, told by `has`: whether it has one that some do not. */
export function partsWith(has: (part: PartName) => boolean): readonly PartName[] {
  return ALL_PARTS.filter((part) => !partEntry(part).optional || has(part));
}

/** The parts of which there is something. */
export function partsOf(all: ByPart<unknown>): readonly PartName[] {
  return partsWith((part) => all[part] !== undefined);
}

/** The table's row of a part. */
export function partEntry(part: PartName): PartEntry {
  return PARTS[part];
}

/** What `make` gives for each part, by default of those that every model has. */
export function byPart<T, P extends PartName = CommonPart>(
  make: (part: P) => T,
  parts: readonly P[] = PART_NAMES as readonly PartName[] as readonly P[],
): ByPart<T> {
  return Object.fromEntries(parts.map((part) => [part, make(part)])) as Record<PartName, T>;
}

/** The naming that a single file has for a part; undefined where it does not hold the part. */
export function checkpointNaming(part: PartName, names: Iterable<string>): Naming | undefined {
  const all = [...names];
  return partEntry(part).checkpoint.find((naming) => all.some((name) => belongs(naming, name)));
}

/** Whether a single file's tensor is needed by any part; the others belong to its training. */
export function isNeeded(name: string): boolean {
  return ALL_PARTS.some((part) => partEntry(part).checkpoint.some((naming) => belongs(naming, name)));
}

/** Whether a name is a naming's own, and not one of its strays. */
export function belongs({ prefix, stray }: Naming, name: string): boolean {
  return name.startsWith(prefix) && !stray?.test(name.slice(prefix.length));
}

/** A naming as one function from a file's names; undefined for what is not its own. */
export function renameOf(naming: Naming, names: Iterable<string>): Rename {
  const cut = (name: string) => belongs(naming, name) ? name.slice(naming.prefix.length) : undefined;
  const rename = naming.rename(Array.from(names, cut).filter((name) => name !== undefined));
  return (name) => {
    const own = cut(name);
    return own === undefined ? undefined : rename(own);
  };
}
