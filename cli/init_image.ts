/**
 * What options say of the picture that a request starts from.
 * @module
 */
import type { Image, InitImage, Request } from "../pipeline/request.ts";
import { stepsLeftOut } from "../pipeline/start.ts";
import { UsageError } from "./errors.ts";
import type { ImageFiles } from "./image_files.ts";
import type { OptionValues } from "./options.ts";

/** How much is made anew when no option says it, as in diffusers. */
const STRENGTH = { image: 0.8, mask: 1 };

/** A side of a picture in pixels: what `--width` takes. */
const SIDE = { least: 64, most: 4096, step: 8 };

/** What may be said of a size. */
type Size = Pick<Image, "width" | "height">;

/**
 * The init image that options name, its mask and strength.
 *
 * @throws {UsageError} when a file cannot be read, or a mask or a strength has no init image.
 */
export function readInit(values: OptionValues, files: ImageFiles): InitImage | undefined {
  const { "init-image": path, mask, strength } = values;
  if (path === undefined) {
    for (const name of ["mask", "strength"] as const) {
      if (values[name] !== undefined) throw new UsageError(`--${name} needs --init-image, of which it is said`);
    }
    return undefined;
  }
  const image = files.read(path, { option: "init-image", background: 255 });
  if (mask === undefined) return { image, strength: strength ?? STRENGTH.image };
  return {
    image,
    mask: files.read(mask, { option: "mask", background: 0 }),
    strength: strength ?? STRENGTH.mask,
  };
}

/**
 * The size of a picture that starts from `image`: what is asked for; a side that is not follows from the other one and
 * the image's shape. Without either the image's own size, shrunk until it is no more than twice the model's.
 */
export function initSize(image: Size, asked: Pick<OptionValues, "width" | "height">, model: Size): Size {
  const { width, height } = asked;
  const scale = width !== undefined
    ? width / image.width
    : height !== undefined
    ? height / image.height
    : Math.min(1, 2 * model.width / image.width, 2 * model.height / image.height);
  return { width: width ?? side(image.width * scale), height: height ?? side(image.height * scale) };
}

function side(pixels: number): number {
  // What rounding left a hair below a multiple must not lose 8 pixels.
  const whole = Math.floor((pixels + 1e-6) / SIDE.step) * SIDE.step;
  return Math.min(SIDE.most, Math.max(SIDE.least, whole));
}

/**
 * Refuses a strength that leaves no step.
 *
 * @throws {UsageError} naming one that does.
 */
export function checkStrength(request: Request): void {
  const { init, steps } = request;
  if (init === undefined || stepsLeftOut(request) < steps) return;
  const least = Math.ceil(1000 / steps) / 1000;
  throw new UsageError(`--strength ${init.strength} of ${steps} steps leaves none to run: ${least} leaves one`);
}

/** A line that says so where the init image loses its shape. */
export function describeStretch({ init, width, height }: Request): string[] {
  if (init === undefined) return [];
  const { image } = init;
  const stretch = width / height / (image.width / image.height);
  if (Math.max(stretch, 1 / stretch) < 1.05) return [];
  return [`The init image of ${image.width}x${image.height} is stretched to ${width}x${height}`];
}

/** What JSON says of an init image: its files, not their pixels. */
export function describeInit({ image, mask, strength }: InitImage): object {
  return { image: image.file, ...(mask && { mask: mask.file }), strength };
}
