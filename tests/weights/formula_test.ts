import { assertEquals, assertThrows } from "@std/assert";
import { ModelFileError } from "../../weights/errors.ts";
import { openFormula } from "../../weights/formula.ts";
import { toFloat32 } from "../../weights/values.ts";
import { openTinyPart } from "../tiny_model.ts";

/** The formula one value at a time, in whole numbers without bound. */
function expected(name: string, shape: readonly number[], i: number): number {
  const wrap = (x: bigint) => BigInt.asUintN(32, x);
  let seed = 2166136261n;
  for (const byte of new TextEncoder().encode(name)) seed = wrap((seed ^ BigInt(byte)) * 16777619n);
  let x = wrap(BigInt(i) * 2654435761n + seed);
  x = wrap((x ^ (x >> 16n)) * 0x85ebca6bn);
  x = wrap((x ^ (x >> 13n)) * 0xc2b2ae35n);
  const u = Number(x ^ (x >> 16n)) / 2 ** 32 * 2 - 1;
  if (shape.length === 1) return Math.f16round(Math.fround(name.endsWith("weight") ? 1 + 0.1 * u : 0.05 * u));
  const [rows, last] = [shape[0]!, shape.at(-1)!];
  const row = shape.reduce((a, b) => a * b) / rows;
  const fan = name.includes("embedding") && !name.includes("time") ? last : row;
  const gain = name.includes("embedding") ? Math.sqrt(fan) * 0.02 : 1.5;
  return Math.f16round(Math.fround(u / Math.sqrt(fan) * gain));
}

Deno.test("the first computed weights are those of the golden data", () => {
  using source = openTinyPart("unet");
  const values = toFloat32(source.tensors.get("conv_in.weight")!, source.read("conv_in.weight"));
  assertEquals(Array.from(values.subarray(0, 8), (value) => value.toFixed(8)), [
    "-0.11663818",
    "-0.22180176",
    "0.14025879",
    "-0.08099365",
    "0.07684326",
    "-0.05593872",
    "0.18762207",
    "0.17285156",
  ]);
});

for (
  const [name, shape] of [
    ["embeddings.token_embedding.weight", [40, 32]],
    ["time_embedding.linear_1.weight", [16, 32]],
    ["time_embedding.linear_1.bias", [16]],
    ["conv_in.weight", [8, 4, 3, 3]],
    ["norm.weight", [50]],
    ["é.bias", [50]],
  ] as const
) {
  Deno.test(`computed weights follow the formula: ${name} ${shape.join(" x ")}`, () => {
    for (const dtype of ["F16", "F32"] as const) {
      using source = openFormula("part", new Map([[name, shape]]), dtype);
      const values = toFloat32(source.tensors.get(name)!, source.read(name));
      assertEquals(Array.from(values), Array.from(values.keys(), (i) => expected(`part.${name}`, shape, i)));
    }
  });
}

Deno.test("values from the middle of a tensor are computed without the rest of it, which no memory holds", () => {
  const [name, shape, first] = ["a.weight", [2 ** 20, 2 ** 20], 2 ** 39 + 5] as const;
  for (const [dtype, size] of [["F16", 2], ["F32", 4]] as const) {
    using source = openFormula("part", new Map([[name, shape]]), dtype);
    const bytes = source.read(name, { begin: first * size, into: new Uint8Array(7 * size) });
    const values = toFloat32({ name, dtype, shape: [7], bytes: 7 * size }, bytes);
    assertEquals(Array.from(values), Array.from(values.keys(), (i) => expected(`part.${name}`, shape, first + i)));
  }
});

Deno.test("a tensor that the formula was not asked for is not there", () => {
  using source = openFormula("part", new Map());
  assertThrows(() => source.read("b.weight"), ModelFileError, "computed weights part");
});
