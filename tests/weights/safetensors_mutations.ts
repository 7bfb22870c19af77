/**
 * Safetensors files that are nearly good.
 * @module
 */
import { assertEquals } from "@std/assert";
import { ModelFileError } from "../../weights/errors.ts";
import { openSafetensors } from "../../weights/safetensors.ts";
import { entry, safetensors } from "./safetensors_bytes.ts";

const GOOD = safetensors({
  __metadata__: { format: "pt" },
  "conv_in.weight": entry([4, 2, 3], 0, 48, "F16"),
  "conv_in.bias": entry([10], 48, 88),
  scale: entry([], 88, 90, "BF16"),
  "__proto__.none": entry([0, 7], 90, 90),
  last: entry([100], 90, 490),
}, 490);
const HEADER_END = GOOD.length - 490;

/** Whole numbers from 0 below a bound, the same in every run (a 32-bit linear congruential generator). */
export type Draw = (below: number) => number;

export function drawing(seed: number): Draw {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
}

const MUTATIONS: readonly ((file: Uint8Array, draw: Draw) => Uint8Array)[] = [
  function flip(file, draw) {
    const at = draw(Math.min(HEADER_END + 8, file.length));
    return file.with(at, file[at]! ^ (1 << draw(8)));
  },
  function cut(file, draw) {
    return file.slice(0, 1 + draw(file.length - 1));
  },
  function splice(file, draw) {
    const [from, to] = [draw(file.length), draw(HEADER_END)];
    const piece = file.subarray(from, from + draw(40));
    return Uint8Array.of(...file.subarray(0, to), ...piece, ...file.subarray(to + draw(2) * piece.length));
  },
  function changeDigit(file, draw) {
    const digits = Array.from(file.keys()).filter((at) => at >= 8 && at < HEADER_END && isDigit(file[at]!));
    return digits.length === 0 ? file : file.with(digits[draw(digits.length)]!, 0x30 + draw(10));
  },
];

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

/** Writes a file that differs from a good one to `path` and opens it: it gives tensors or a ModelFileError. */
export function openMutated(path: string, seed: number): "model" | "error" {
  const draw = drawing(seed);
  let file: Uint8Array = GOOD;
  for (let changes = 1 + draw(2); changes > 0; changes--) file = MUTATIONS[draw(MUTATIONS.length)]!(file, draw);
  Deno.writeFileSync(path, file);
  try {
    using source = openSafetensors(path);
    for (const [name, { bytes }] of source.tensors) assertEquals(source.read(name).length, bytes);
    return "model";
  } catch (error) {
    if (error instanceof ModelFileError) return "error";
    throw new Error(`File ${seed} gave neither tensors nor a ModelFileError`, { cause: error });
  }
}
