/**
 * What a weights file is, told by its header: no weights are read.
 * @module
 */
import { otherKind } from "./checkpoint_kinds.ts";
import { splitCheckpoint } from "./checkpoint.ts";
import { vectorsOfShape } from "./embedding.ts";
import { ModelFileError } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import { describeTensors } from "./lora.ts";
import { type Role, splitName } from "./lora_names.ts";
import { isNeeded, PART_NAMES, partEntry, type PartName, partsOf } from "./manifest.ts";
import type { ModelConfig } from "./model.ts";
import { isPickle, PICKLE } from "./pickle.ts";
import { readHeader } from "./safetensors.ts";
import { configOfShapes, contextWidth } from "./shape_config.ts";
import type { DType, TensorInfo, TensorSource } from "./tensor_source.ts";

/** What of a file its kind says. */
interface Told {
  /** What people call such a file: checkpoint, LoRA, VAE ... */
  readonly kind: string;
  /** The family of the models that it is or is for, where the kind says it. */
  readonly family?: string;
  /** The parts of a model that it holds or changes. */
  readonly parts?: readonly string[];
  /** Of a LoRA: whose names it has. */
  readonly format?: string;
  /** Of a LoRA: how it changes layers. */
  readonly methods?: readonly string[];
  /** Of a LoRA: its least and its largest rank. */
  readonly ranks?: readonly [least: number, most: number];
  /** Of a textual inversion: how many vectors it has for each text encoder. */
  readonly vectors?: number;
  /** The configuration of a whole model. */
  readonly config?: ModelConfig;
  /** The width of the context that its UNet attends to, or of what it makes of one. */
  readonly context?: number | undefined;
}

/** A weights file. */
export interface DescribedFile extends Told {
  /** How many tensors are stored in each type. */
  readonly precision: Readonly<Record<string, number>>;
  readonly tensors: number;
  /** Numbers in all tensors. */
  readonly parameters: number;
  /** Of the tensors. */
  readonly bytes: number;
}

type Tensors = ReadonlyMap<string, TensorInfo>;

/**
 * Describes the safetensors file at `path`, whose tensors may be of any type.
 * @throws {ModelNotFoundError} there is no such file
 * @throws {ModelFileError} the file is damaged, a pickle, or of no kind that is known
 */
export function describeFile(path: string): DescribedFile {
  if (isPickle(path)) throw new ModelFileError(path, PICKLE);
  const { entries } = readHeader(path);
  // Only names and shapes are asked for.
  const tensors: Tensors = new Map(
    entries.map(({ name, dtype, shape, begin, end }) => {
      return [name, { name, dtype: dtype as DType, shape, bytes: end - begin }];
    }),
  );
  const types = Map.groupBy(entries, ({ dtype }) => dtype);
  return {
    ...tell(path, tensors),
    precision: Object.fromEntries(Array.from(types, ([dtype, { length }]) => [dtype, length])),
    tensors: entries.length,
    parameters: entries.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
    bytes: entries.reduce((sum, { begin, end }) => sum + end - begin, 0),
  };
}

function tell(path: string, tensors: Tensors): Told {
  const names = [...tensors.keys()];
  const parts = splitCheckpoint(unread(path, new Map([...tensors].filter(([name]) => isNeeded(name)))));
  const held = partsOf(parts).filter((part) => parts[part]!.tensors.size > 0);
  const other = otherKind(names, parts.unet.tensors);
  const inversion = tellInversion(tensors, other?.kind);
  if (inversion) return inversion;
  if (other?.kind === "LoRA") return tellLora(tensors);
  if (other) {
    const { kind, family } = other;
    return { kind, ...(family !== undefined && { family }), context: contextWidth(tensors) };
  }
  if (held.length === 0) {
    throw new ModelFileError(path, `this is no kind of weights that is known: ${describeTensors(names)}`);
  }
  const isWhole = PART_NAMES.every((part) => held.includes(part));
  return {
    kind: isWhole ? "checkpoint" : "parts of a checkpoint",
    parts: titlesOf(held),
    ...(isWhole && { config: configOfShapes(parts) }),
    context: contextWidth(tensors),
  };
}

/** Tensors of which only names and shapes are known. */
function unread(label: string, tensors: Tensors): TensorSource {
  const read = () => {
    throw new ModelFileError(label, "only its header is read");
  };
  return { label, tensors, read, readAsync: read, [Symbol.dispose]() {} };
}

function titlesOf(parts: readonly PartName[]): readonly string[] {
  return parts.map((part) => partEntry(part).title);
}

/** A textual inversion: of diffusers' a tensor is called as its word, so that one alone is taken for it. */
function tellInversion(tensors: Tensors, kind: string | undefined): Told | undefined {
  if (kind !== "textual inversion" && (kind !== undefined || tensors.size !== 1)) return undefined;
  const found = Array.from(tensors.values()).flatMap(({ dtype, shape }) =>
    /^B?F/.test(dtype) ? vectorsOfShape(shape) ?? [] : []
  );
  const [first] = found;
  if (first === undefined || first.count > LIMITS.vectors) return undefined;
  // The context of Stable Diffusion XL is that of both its text encoders.
  const context = found.reduce((sum, { width }) => sum + width, 0);
  return { kind: "textual inversion", vectors: first.count, context };
}

/** Whose names a LoRA's are. */
const FORMATS: readonly (readonly [format: string, is: RegExp])[] = [
  ["kohya", /^lora_(?:unet|te)/],
  ["LyCORIS", /^lycoris_/],
  ["PEFT", /\.lora_[AB]\./],
  ["diffusers", /[._]lora(?:_linear_layer)?\.(?:down|up)\./],
];

/** Which part of a model a LoRA's tensor is for. */
const PARTS: readonly (readonly [part: PartName, is: RegExp])[] = [
  ["text_encoder", /^(?:lora_te1?_|(?:.*\.)?text_encoder\.|text_model\.)/],
  ["text_encoder_2", /^(?:lora_te2_|(?:.*\.)?text_encoder_2\.)/],
  ["unet", /(?:down|up|mid|input|middle|output)_blocks?[._]/],
];

/** Roles of tensors `[rank, in]`. */
const RANKED: readonly Role[] = ["down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b"];

function tellLora(tensors: Tensors): Told {
  const all = Array.from(tensors.values()).flatMap((info) => {
    const split = splitName(info.name);
    return split ? [{ ...info, ...split }] : [];
  });
  const has = (pattern: RegExp) => all.some(({ role }) => pattern.test(role));
  const convolves = all.some(({ role, shape }) => role === "mid" || (role === "down" && (shape[2] ?? 1) > 1));
  const methods: readonly (readonly [method: string, is: boolean])[] = [
    [convolves ? "LoCon" : "LoRA", has(/^down$/)],
    ["LoHa", has(/^hada/)],
    ["LoKr", has(/^lokr/)],
    ["DoRA", has(/^(?:dora_scale|magnitude)$/)],
    ["differences", has(/^diff/)],
  ];
  const ranks = all.flatMap(({ role, shape }) => RANKED.includes(role) ? shape[0] ?? [] : []).sort((a, b) => a - b);
  const format = FORMATS.find(([, is]) => all.some(({ name }) => is.test(name)))?.[0];
  const keys = all.find(({ module, role }) =>
    /attn2[._](?:processor[._])?to_k$/.test(module) && (role === "down" || role === "hada_w1_b")
  );
  return {
    kind: "LoRA",
    ...(format !== undefined && { format }),
    methods: methods.flatMap(([method, is]) => is ? [method] : []),
    ...(ranks.length > 0 && { ranks: [ranks[0]!, ranks.at(-1)!] as const }),
    parts: titlesOf(PARTS.flatMap(([part, is]) => all.some(({ name }) => is.test(name)) ? [part] : [])),
    context: keys?.shape[1],
  };
}
