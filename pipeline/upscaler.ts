/**
 * Pictures enlarged by a net, tile by tile where they are large.
 * @module
 */
import { type Backends, chooseBackends, type Gpu, Ops, type Program, type Tensor } from "../kernels/mod.ts";
import { AUTO, type Optimizations } from "../kernels/optimizations.ts";
import { Selection, type SelectionOptions } from "../kernels/selection.ts";
import { LIMITS, openUpscaler as openFile, openUpscalerTensors, type UpscalerFile } from "../weights/mod.ts";
import { toImage } from "./image.ts";
import { enlarge, type EsrganWeights, layersOf, readEsrgan } from "./nets/esrgan.ts";
import { Parameters, type Precision } from "./nets/parameters.ts";
import { checkTensors, ShapeRecorder } from "./nets/shapes.ts";
import type { Image, VaeTiling } from "./request.ts";
import { recordTiled, type Size, type TiledProgram } from "./tiled_program.ts";

/**
 * Sides of tiles, in pixels of the net's first layer, and of the smallest. A quarter of them overlaps, of which a quarter
 * at either end counts for nothing. With 23 blocks no overlap holds all that a pixel depends on, but what is far weighs
 * little: with random weights and noise for a picture, tiles are off by 2e-6 of the values' spread, the smallest by 2e-3;
 * without margins it is 4e-2 and 2e-1.
 */
const TILE = { side: 256, smallest: 64 };
const MARGIN = 1 / 4;

/** How an upscaler is loaded. */
export interface UpscalerOptions {
  /** How weights are stored and whether the net may compute in float16; default `auto`: as its file is. */
  readonly precision?: Precision;
  /** Which of the paper's optimizations run; default {@link AUTO}. */
  readonly kernels?: Optimizations;
  /** How it is decided which of their kernels run; by default without a memory of earlier runs. */
  readonly selection?: SelectionOptions;
  /**
   * The kernels to choose among; by default those that suit the GPU.
   * @internal
   */
  readonly backends?: Pick<Backends, "exact" | "half">;
}

/** How a picture is enlarged. */
export interface EnlargeOptions {
  /** Called after each of the tiles; a picture that is not cut is one. */
  readonly onTile?: (done: number, tiles: number) => void;
  /** Whether tiles are cut; default `auto`: where the whole picture would take too much memory. */
  readonly tiling?: VaeTiling;
  /**
   * Called before a program runs.
   * @internal
   */
  readonly ready?: (program: Program) => Promise<void>;
}

/**
 * Reads what the upscaler of the ESRGAN family is in a safetensors file: ESRGAN or Real-ESRGAN, 1 to 8 times. The file is
 * open only while it is read.
 *
 * @throws {ModelNotFoundError} there is no such file
 * @throws {ModelFileError} the file is damaged or another kind of model; a tensor is missing, misshapen or unknown
 */
export function openUpscaler(path: string): UpscalerFile {
  const file = openFile(path);
  const recorder = new ShapeRecorder();
  readEsrgan(recorder, file.config);
  checkTensors({ label: path, tensors: file.tensors }, recorder.shapes);
  return file;
}

/** Why a picture of a size cannot be enlarged; undefined where it can. */
export function refuseSize(
  { scale }: Pick<UpscalerFile, "scale">,
  { width, height }: Pick<Image, "width" | "height">,
): string | undefined {
  if (scale ** 2 * width * height <= LIMITS.pngPixels) return undefined;
  const large = `${scale * width}x${scale * height}`;
  return `${width}x${height} pixels would become ${large}; at most ${LIMITS.pngPixels} pixels are made`;
}

/** An upscaler on a GPU. What it records for one size it keeps for the next picture of that size. */
export class Upscaler implements Disposable {
  readonly #ops: Ops;
  readonly #weights: EsrganWeights;
  readonly #scale: number;
  #recorded: { readonly key: string; readonly program: TiledProgram } | undefined;

  private constructor(ops: Ops, weights: EsrganWeights, scale: number) {
    this.#ops = ops;
    this.#weights = weights;
    this.#scale = scale;
  }

  /**
   * Reads an upscaler's weights onto the GPU.
   *
   * @throws {ModelFileError | ModelNotFoundError} when its file is not any more what it was.
   */
  static async load(gpu: Gpu, file: UpscalerFile, options: UpscalerOptions = {}): Promise<Upscaler> {
    using source = openUpscalerTensors(file);
    const { config, scale } = file;
    const { precision = "auto", kernels: optimizations = AUTO } = options;
    const selection = new Selection(gpu.adapter, options.selection);
    const { exact, half } = options.backends ?? await chooseBackends(gpu, selection);
    const isHalf = source.tensors.values().every(({ dtype }) => dtype === "F16");
    const inHalf = precision === "auto" ? isHalf : precision === "f16";
    const ops = new Ops(gpu, inHalf ? half : exact, { optimizations, selection });
    const parameters = new Parameters(ops, source, precision);
    const weights = readEsrgan(parameters, config);
    await parameters.load();
    gpu.check();
    return new Upscaler(ops, weights, scale);
  }

  /**
   * The picture, {@link UpscalerFile.scale} times as wide and high.
   *
   * @throws {RangeError} when that would be more pixels than are made, see {@link refuseSize}.
   * @throws {GpuFailedError | GpuMemoryError} when the GPU fails, or the picture is not made of numbers.
   */
  async enlarge(image: Image, { onTile, tiling = "auto", ready }: EnlargeOptions = {}): Promise<Image> {
    const refusal = refuseSize({ scale: this.#scale }, image);
    if (refusal !== undefined) throw new RangeError(refusal);
    const { unshuffle, doublings } = this.#weights.config;
    const size = { height: Math.ceil(image.height / unshuffle), width: Math.ceil(image.width / unshuffle) };
    const recorded = await this.#record(size, tiling);
    await ready?.(recorded.program);
    let done = 0;
    const values = await recorded.run(
      () => Promise.resolve(unshuffled(image, unshuffle, size)),
      () => onTile?.(++done, recorded.tiles),
    );
    const [height, width] = [size.height, size.width].map((side) => side * 2 ** doublings) as [number, number];
    const whole = toImage(values, { width, height, what: "The enlarged picture" });
    return cropped(whole, this.#scale * image.width, this.#scale * image.height);
  }

  async #record(size: Size, tiling: VaeTiling): Promise<TiledProgram> {
    const key = JSON.stringify([size, tiling]);
    if (this.#recorded?.key !== key) {
      this.release();
      const { unshuffle, doublings } = this.#weights.config;
      const net = {
        build: (ops: Ops, x: Tensor) => enlarge(ops, this.#weights, x),
        from: { channels: 3 * unshuffle ** 2, scale: 1 },
        to: { channels: 3, scale: 2 ** doublings },
        tile: TILE,
        margin: MARGIN,
      };
      this.#recorded = { key, program: await recordTiled(this.#ops, net, { size, tiling }) };
    }
    const { program } = this.#recorded!;
    await this.#ops.gpu.prepare(program.program.kernels);
    return program;
  }

  /** Gives back what it recorded. */
  release(): void {
    this.#recorded?.program.dispose();
    this.#recorded = undefined;
  }

  /** Gives back its memory, that of the weights included. */
  [Symbol.dispose](): void {
    this.release();
    this.#ops.dispose();
    for (const { weights, bias } of layersOf(this.#weights)) {
      for (const tensor of [weights, bias]) if (tensor) this.#ops.gpu.free(tensor.memory);
    }
  }
}

/**
 * A picture's values `[3 x side^2, height, width]`, 0 to 1: squares of `side` pixels as the channels of one, as PyTorch's
 * `pixel_unshuffle` orders them; what is missing on the right and at the bottom is mirrored.
 */
function unshuffled({ width, height, pixels }: Image, side: number, size: Size): Float32Array {
  const values = new Float32Array(3 * side ** 2 * size.height * size.width);
  let at = 0;
  for (let channel = 0; channel < 3 * side ** 2; channel++) {
    const [colour, dy, dx] = [Math.floor(channel / side ** 2), Math.floor(channel / side) % side, channel % side];
    for (let row = 0; row < size.height; row++) {
      const y = mirrored(row * side + dy, height);
      for (let column = 0; column < size.width; column++) {
        values[at++] = pixels[(y * width + mirrored(column * side + dx, width)) * 3 + colour]! / 255;
      }
    }
  }
  return values;
}

function mirrored(place: number, length: number): number {
  return place < length ? place : Math.max(0, 2 * (length - 1) - place);
}

/** The upper left part of a picture. */
function cropped(image: Image, width: number, height: number): Image {
  if (image.width === width && image.height === height) return image;
  const pixels = new Uint8Array(3 * width * height);
  for (let row = 0; row < height; row++) {
    pixels.set(image.pixels.subarray(row * image.width * 3, (row * image.width + width) * 3), row * width * 3);
  }
  return { width, height, pixels };
}
