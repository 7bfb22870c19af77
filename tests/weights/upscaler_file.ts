/**
 * The tiny upscalers of `fixtures/esrgan` as files.
 * @module
 */
import { openFormula } from "../../weights/formula.ts";
import { type StoredTensor, storeTensors } from "./safetensors_bytes.ts";

/** Real-ESRGAN's architecture, without and with pixels as channels, and the names of ESRGAN's first files. */
export type UpscalerName = "x4" | "x2" | "old";

const SHAPES: Readonly<Record<UpscalerName, readonly (readonly [string, readonly number[]])[]>> = JSON.parse(
  Deno.readTextFileSync(new URL("../../fixtures/esrgan/tensors.json", import.meta.url)),
);

interface Changes {
  /** A tensor's name in the file; undefined leaves it out. */
  readonly rename?: (name: string) => string | undefined;
  readonly dtype?: "F16" | "F32";
  /** More tensors. */
  readonly more?: Readonly<Record<string, StoredTensor>>;
}

/** The bytes of a tiny upscaler's file; its weights are those that PyTorch's pictures were made with. */
export function upscalerFile(upscaler: UpscalerName, changes: Changes = {}): Uint8Array<ArrayBuffer> {
  const { rename = (name) => name, dtype = "F32", more = {} } = changes;
  const source = openFormula(`esrgan.${upscaler}`, new Map(SHAPES[upscaler]), dtype);
  const stored = SHAPES[upscaler].flatMap(([name, shape]): [string, StoredTensor][] => {
    const renamed = rename(name);
    return renamed === undefined ? [] : [[renamed, { dtype, shape, bytes: source.read(name) }]];
  });
  return storeTensors(new Map([...stored, ...Object.entries(more)]));
}
