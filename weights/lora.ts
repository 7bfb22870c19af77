/**
 * LoRA files: what they change of a model, and a model's tensors as they change them.
 * @module
 */
import { ModelFileError, ModelNotFoundError } from "./errors.ts";
import { inside, parseJson, sha256Of, stampOf } from "./files.ts";
import { isObject, quoted, shown } from "./json.ts";
import { type Change, type Group, planBias, planWeights, type ReadTensor } from "./lora_change.ts";
import { LIMITS } from "./limits.ts";
import { type Role, splitName, type Target, targetsOf } from "./lora_names.ts";
import { type ByPart, byPart, type PartName, partsOf } from "./manifest.ts";
import { openSafetensors, type SafetensorsSource } from "./safetensors.ts";
import { type ReadOptions, readTarget, type TensorInfo, type TensorSource } from "./tensor_source.ts";
import { toFloat32 } from "./values.ts";

/** A LoRA file that was read as far as its header, and is closed again. */
export interface LoraFile {
  /** Its path. */
  readonly path: string;
  /** SHA-256 of its bytes, in hexadecimal digits. */
  readonly sha256: string;
  /** How many of its tensors change the model. */
  readonly used: number;
  /** The names of the others. */
  readonly unused: readonly string[];
  /**
   * What happens to tensors of the model, by their names.
   * @internal
   */
  readonly changes: ByPart<ReadonlyMap<string, Change>>;
  /**
   * Size and time of the file when it was read.
   * @internal
   */
  readonly stamp: string;
}

/** A LoRA file and how much of it is wanted. */
export interface WeighedLora {
  /** The file. */
  readonly file: LoraFile;
  /** 1 is as it was trained; below 0 it steers away. */
  readonly weight: number;
}

/**
 * Reads which tensors of a model the LoRA file at `path` changes, and checks that it fits them.
 * @throws {ModelNotFoundError} there is no such file
 * @throws {ModelFileError} the file is damaged, changes nothing of this model or does not fit it
 */
export function openLora(path: string, parts: ByPart<Pick<TensorSource, "tensors">>): LoraFile {
  using file = openSafetensors(path, { ignore: (name) => splitName(name) === undefined });
  const find = targetsOf(parts);
  const groups = new Map<
    string,
    { readonly target: Target; readonly module: string; readonly tensors: Map<Role, TensorInfo> }
  >();
  const unused = [...file.ignored];
  for (const info of file.tensors.values()) {
    const { module, role } = splitName(info.name)!;
    const target = find(module);
    if (target === undefined) {
      unused.push(info.name);
      continue;
    }
    const key = `${target.part} ${target.module}`;
    const group = groups.get(key) ?? { target, module, tensors: new Map() };
    groups.set(key, group);
    const other = group.tensors.get(role);
    if (other) {
      throw new ModelFileError(
        path,
        `tensors ${shown(other.name)} and ${shown(info.name)} are two of one kind for one layer`,
      );
    }
    group.tensors.set(role, info);
  }
  const scales = scalesOf(file);
  const changes = byPart(() => new Map<string, Change>(), partsOf(parts));
  for (const { target: { part, module }, module: spelt, tensors } of groups.values()) {
    const scale = scales(part);
    const group: Group = { label: path, module: spelt, tensors, ...(scale && { scale }) };
    const use = (kind: "weight" | "bias", roles: readonly Role[], plan: typeof planWeights) => {
      const target = parts[part]!.tensors.get(`${module}.${kind}`);
      // A scale alone scales nothing.
      if (target && !roles.every((role) => role === "alpha")) {
        return void changes[part]!.set(target.name, plan(group, target));
      }
      unused.push(...roles.map((role) => tensors.get(role)!.name));
    };
    use("weight", [...tensors.keys()].filter((role) => role !== "diff_b"), planWeights);
    use("bias", [...tensors.keys()].filter((role) => role === "diff_b"), planBias);
  }
  const used = file.tensors.size + file.ignored.length - unused.length;
  if (used === 0) {
    throw new ModelFileError(path, `nothing in it belongs to a layer of this model: ${describeTensors(unused)}`);
  }
  return { path, sha256: sha256Of(path), used, unused, changes, stamp: stampOf(path) };
}

/**
 * The path of the LoRA that is called `name` in `folder`, with or without its ending. Nothing outside of the folder is
 * looked at, but for what links lead to in a Hugging Face cache.
 * @throws {ModelNotFoundError} `name` is not the name of a file
 * @throws {ModelFileError} it is a link out of the folder
 */
export function findLora(folder: string, name: string): string {
  if (/[/\\\0]/.test(name) || name.length > LIMITS.line) {
    throw new ModelNotFoundError(`${quoted(name)} is not the name of a LoRA in ${folder}: a name has no folders`);
  }
  return inside(folder, /\.safetensors$/i.test(name) ? name : `${name}.safetensors`);
}

/** A number of tensors and the first of their names, for people. */
export function describeTensors(names: readonly string[]): string {
  const [count, most] = [names.length, 5];
  if (count === 0) return "0 tensors";
  const rest = count > most ? ` and ${count - most} more` : "";
  return `${count} tensor${count === 1 ? "" : "s"} (${names.slice(0, most).map(shown).join(", ")}${rest})`;
}

/**
 * How PEFT's files scale what has no alpha of its own: diffusers writes the settings of each part's adapter into the
 * file's metadata.
 */
function scalesOf({ label, metadata }: SafetensorsSource): (part: PartName) => Group["scale"] {
  const text = metadata.get("lora_adapter_metadata");
  const settings = text === undefined ? {} : parseJson(label, text, "its lora_adapter_metadata");
  return (part) => {
    const setting = (name: string) => isObject(settings) ? settings[`${part}.${name}`] : undefined;
    const alpha = setting("lora_alpha");
    if (typeof alpha !== "number") return undefined;
    const pattern = setting("alpha_pattern");
    if (isObject(pattern) && Object.keys(pattern).length > 0) {
      throw new ModelFileError(label, `its lora_adapter_metadata has an alpha_pattern, which is not supported`);
    }
    return (rank) => alpha / (setting("use_rslora") === true ? Math.sqrt(rank) : rank);
  };
}

/** A product that is added to a tensor, in float32. */
export interface AddedProduct {
  readonly rank: number;
  /** `[out, rank]`. */
  readonly up: Float32Array<ArrayBuffer>;
  /** `[rank, in, taps]`. */
  readonly down: Float32Array<ArrayBuffer>;
}

/** Tensors as LoRAs change them; disposing of it closes the LoRAs' files, not the model's. */
export interface MergedSource extends TensorSource {
  /** The tensors as they were. */
  readonly base: TensorSource;
  /** The names of the tensors that are changed. */
  readonly changed: ReadonlySet<string>;
  /** What reads the product that is all the difference between a tensor and what it was; undefined where there is more. */
  product(name: string): (() => AddedProduct) | undefined;
}

/** Bytes of a factor up to which products are given, which every GPU can bind, and ranks, whose work no driver ends. */
const MOST = { factor: 64 << 20, rank: 1024 };

/**
 * A part's tensors, changed by one LoRA after the other. What is changed is F32 whatever it was; the rest is read as before.
 * The last changed tensor is kept until another one is read.
 * @throws {ModelFileError} a LoRA's file is not the one any more that {@link openLora} read
 */
export function mergeLoras(base: TensorSource, part: PartName, loras: readonly WeighedLora[]): MergedSource {
  using stack = new DisposableStack();
  const opened = loras.map(({ file, weight }) => {
    const own = stack.use(openSafetensors(file.path, { ignore: (name) => splitName(name) === undefined }));
    if (stampOf(file.path) !== file.stamp) {
      throw new ModelFileError(file.path, "the file has changed since it was checked");
    }
    const read: ReadTensor = (name) => toFloat32(own.tensors.get(name)!, own.read(name));
    return { changes: file.changes[part] ?? new Map<string, Change>(), weight, read };
  });
  const changed = new Set(opened.flatMap(({ changes }) => [...changes.keys()]));
  const changesOf = (name: string) =>
    opened.flatMap(({ changes, weight, read }) => {
      const change = changes.get(name);
      return change ? [{ change, weight, read }] : [];
    });
  const elements = ({ shape }: TensorInfo) => shape.reduce((a, b) => a * b, 1);
  const tensors = new Map(
    [...base.tensors].map(([name, info]) => {
      return [name, changed.has(name) ? { ...info, dtype: "F32", bytes: 4 * elements(info) } as const : info];
    }),
  );
  let last: { readonly name: string; readonly bytes: Uint8Array<ArrayBuffer> } | undefined;
  const merge = (name: string, stored: Uint8Array<ArrayBuffer>) => {
    const values = toFloat32(base.tensors.get(name)!, stored);
    for (const { change, weight, read } of changesOf(name)) change.apply(values, weight, read);
    last = { name, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
    return last.bytes;
  };
  const cut = (name: string, all: Uint8Array<ArrayBuffer>, options?: ReadOptions) => {
    const { begin, into } = readTarget(tensors.get(name)!, options);
    into.set(all.subarray(begin, begin + into.length));
    return into;
  };
  const known = (name: string) => last?.name === name ? last.bytes : undefined;
  const files = stack.move();
  return {
    label: base.label,
    tensors,
    base,
    changed,
    product(name) {
      const info = base.tensors.get(name)!;
      const all = changesOf(name);
      const rank = all.reduce((sum, { change }) => sum + (change.rank ?? Infinity), 0);
      const [out = 1] = info.shape;
      const bytes = 4 * rank * Math.max(out, elements(info) / out);
      if (all.length === 0 || rank > MOST.rank || bytes > MOST.factor) return undefined;
      return () => joined(all.map(({ change, weight, read }) => change.factors!(weight, read)), { out, rank });
    },
    read: (name, options) =>
      changed.has(name) ? cut(name, known(name) ?? merge(name, base.read(name)), options) : base.read(name, options),
    readAsync: async (name, options) =>
      changed.has(name)
        ? cut(name, known(name) ?? merge(name, await base.readAsync(name)), options)
        : await base.readAsync(name, options),
    [Symbol.dispose]: () => files.dispose(),
  };
}

/** The sum of products as one product. */
function joined(
  all: readonly Omit<AddedProduct, "rank">[],
  { out, rank }: { readonly out: number; readonly rank: number },
): AddedProduct {
  if (all.length === 1) return { rank, ...all[0]! };
  const up = new Float32Array(out * rank);
  const down = new Float32Array(all.reduce((sum, product) => sum + product.down.length, 0));
  let [column, end] = [0, 0];
  for (const product of all) {
    const own = product.up.length / out;
    for (let i = 0; i < out; i++) up.set(product.up.subarray(i * own, (i + 1) * own), i * rank + column);
    down.set(product.down, end);
    column += own;
    end += product.down.length;
  }
  return { rank, up, down };
}
