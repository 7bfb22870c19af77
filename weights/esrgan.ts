/**
 * Opens upscalers of the ESRGAN family (RRDBNet, arXiv 1809.00219 and 2107.10833), whose shapes tell all there is to know.
 * @module
 */
import { ModelFileError, ModelNotFoundError } from "./errors.ts";
import { kindOf, openFile, sha256Of, stampOf } from "./files.ts";
import { LIMITS } from "./limits.ts";
import { renameTensors } from "./names.ts";
import { isPickle, plainPickleError } from "./pickle.ts";
import { openSafetensors } from "./safetensors.ts";
import type { TensorInfo, TensorSource } from "./tensor_source.ts";

/** The sizes of an RRDBNet. */
export interface EsrganConfig {
  /** Residual-in-residual dense blocks. */
  readonly blocks: number;
  readonly channels: number;
  /** Channels that each of the first four layers of a dense block adds. */
  readonly growth: number;
  /** Sides of the squares of pixels that are one pixel's channels to the first layer: 1, 2 or 4. */
  readonly unshuffle: number;
  /** How often the resolution is doubled. */
  readonly doublings: number;
}

/** An upscaler's file that was read as far as its header, and is closed again. */
export interface UpscalerFile {
  /** Its path, as it was given. */
  readonly path: string;
  /** SHA-256 of its bytes, in hexadecimal digits. */
  readonly sha256: string;
  /** How many times as wide and high it makes pictures. */
  readonly scale: number;
  /** @internal */
  readonly config: EsrganConfig;
  /**
   * Its tensors by the names of Real-ESRGAN.
   * @internal
   */
  readonly tensors: TensorSource["tensors"];
  /**
   * Size and time of the file when it was read.
   * @internal
   */
  readonly stamp: string;
}

/** Channels of a picture. */
const COLOURS = 3;

/** What PyTorch's files of these models have around their tensors, where it was not taken off. */
const WRAPPED = /^params(?:_ema)?\./;

/** A layer of a dense block: as ESRGAN's first files call it, its later ones, and Real-ESRGAN's. */
const DENSE_LAYER =
  /^(?:model\.1\.sub|RRDB_trunk|body)\.(\d{1,4})\.(?:RDB|rdb)([123])\.conv([1-5])(?:\.0)?\.(weight|bias)$/;

/** Layers outside of the blocks in the later files of ESRGAN. */
const LATER: Readonly<Record<string, string>> = {
  trunk_conv: "conv_body",
  upconv1: "conv_up1",
  upconv2: "conv_up2",
  HRconv: "conv_hr",
};

/**
 * Reads what the upscaler is in the safetensors file at `path`, in the names of Real-ESRGAN or of either ESRGAN.
 * @throws {ModelNotFoundError} there is no such file
 * @throws {ModelFileError} the file is damaged, or not a whole upscaler of this family for pictures in colour
 */
export function openUpscaler(path: string): UpscalerFile {
  if (kindOf(path) === "nothing") throw new ModelNotFoundError(`There is no file ${path} with an upscaler`);
  if (isPickle(path)) throw plainPickleError(path);
  checkBytes(path);
  using source = openRenamed(path);
  const { tensors } = source;
  const config = configOf(path, tensors);
  const scale = 2 ** config.doublings / config.unshuffle;
  return { path, sha256: sha256Of(path), scale, config, tensors, stamp: stampOf(path) };
}

/**
 * Opens an upscaler's tensors.
 * @throws {ModelFileError} the file is not the one any more that {@link openUpscaler} read
 */
export function openUpscalerTensors({ path, stamp }: UpscalerFile): TensorSource {
  using stack = new DisposableStack();
  const source = stack.use(openRenamed(path));
  if (stampOf(path) !== stamp) throw new ModelFileError(path, "the file has changed since it was checked");
  stack.move();
  return source;
}

function openRenamed(path: string): TensorSource {
  using stack = new DisposableStack();
  const file = stack.use(openSafetensors(path));
  const source = renameTensors(file, renameOf([...file.tensors.keys()]));
  stack.move();
  return source;
}

function checkBytes(path: string): void {
  using file = openFile(path);
  const { size } = file.statSync();
  if (size > LIMITS.upscalerBytes) {
    throw new ModelFileError(path, `the file has ${size} bytes; at most ${LIMITS.upscalerBytes} are read`);
  }
}

/** The names of Real-ESRGAN for those of a file. */
function renameOf(names: readonly string[]): (name: string) => string {
  const plain = names.map((name) => name.replace(WRAPPED, ""));
  // The first ESRGAN is numbered, activations included: behind the blocks, layers that double, then the last two.
  const numbers = plain.flatMap((name) => Number(/^model\.(\d{1,3})\.weight$/.exec(name)?.[1] ?? [])).filter((n) =>
    n > 1
  );
  const numbered = numbers.sort((a, b) => a - b).map((n, i) => {
    const rest = numbers.length - 1 - i;
    return [`model.${n}`, rest === 0 ? "conv_last" : rest === 1 ? "conv_hr" : `conv_up${i + 1}`];
  });
  const layers: Readonly<Record<string, string>> = {
    ...LATER,
    ...Object.fromEntries(numbered),
    "model.0": "conv_first",
  };
  return (name) => {
    const own = name.replace(WRAPPED, "");
    const [, block, dense, layer, kind] = DENSE_LAYER.exec(own) ?? [];
    if (block !== undefined) return `body.${Number(block)}.rdb${dense}.conv${layer}.${kind}`;
    const [, module = "", end = ""] = /^(.+)\.(weight|bias)$/.exec(own) ?? [];
    // Behind its blocks the first ESRGAN counts on.
    if (/^model\.1\.sub\.\d{1,4}$/.test(module)) return `conv_body.${end}`;
    return Object.hasOwn(layers, module) ? `${layers[module]}.${end}` : own;
  };
}

function configOf(path: string, tensors: ReadonlyMap<string, TensorInfo>): EsrganConfig {
  const sizes = (name: string) => tensors.get(`${name}.weight`)?.shape ?? [];
  const [channels, inputs] = sizes("conv_first");
  const [growth] = sizes("body.0.rdb1.conv1");
  const [outputs] = sizes("conv_last");
  const count = (pattern: RegExp) => tensors.keys().filter((name) => pattern.test(name)).toArray().length;
  const blocks = count(/^body\.\d+\.rdb1\.conv1\.weight$/);
  const doublings = count(/^conv_up\d+\.weight$/);
  if (channels === undefined || inputs === undefined || growth === undefined || outputs === undefined) {
    const wanted = "conv_first, body.0.rdb1.conv1 and conv_last, or what ESRGAN called them before";
    throw new ModelFileError(path, `this is not an upscaler of the ESRGAN family, which has layers ${wanted}`);
  }
  const unshuffle = [1, 2, 4].find((side) => inputs === COLOURS * side ** 2);
  if (unshuffle === undefined || outputs !== COLOURS) {
    throw new ModelFileError(path, `it makes ${outputs} channels of ${inputs}; only pictures in colour are enlarged`);
  }
  const scale = 2 ** doublings / unshuffle;
  if (scale < 1 || doublings > LIMITS.doublings) {
    throw new ModelFileError(path, `it would make pictures ${scale} times as wide; from 1 to 8 times is supported`);
  }
  for (const [what, value] of Object.entries({ channels, "channels of a dense layer": growth })) {
    if (value % 4 === 0 && value > 0 && value <= LIMITS.channels) continue;
    throw new ModelFileError(path, `it has ${value} ${what}, not a multiple of 4 up to ${LIMITS.channels}`);
  }
  if (blocks > LIMITS.denseBlocks) {
    throw new ModelFileError(path, `it has ${blocks} blocks; at most ${LIMITS.denseBlocks} are read`);
  }
  return { blocks, channels, growth, unshuffle, doublings };
}
