import { assertEquals, assertThrows } from "@std/assert";
import { planTensor, type ProductSpec, SINGLE } from "../../kernels/backend.ts";
import { textureBackend } from "../../kernels/texture/mod.ts";
import { product } from "../../kernels/texture/product.ts";

function matrix(rows: number, columns: number) {
  return planTensor(textureBackend, { batch: 1, channels: rows, height: columns, width: 1 }, "matrix");
}

const x = matrix(16, 100);
const SPEC: ProductSpec = { a: matrix(16, 16), b: x, out: x, m: 16, n: 100, k: 16 };
const bias = matrix(16, 1);

Deno.test("layers share a shader, whatever is added to their sums", () => {
  const step = { layout: { kind: "buffer", element: "u32", stride: 4, bytes: 16 }, label: "step", kept: true } as const;
  const additions: readonly Partial<ProductSpec>[] = [{}, { bias }, { bias, step }, { plus: x }, { bias, plus: x }];
  const texts = (activation: ProductSpec["activation"] & string) =>
    new Set(additions.map((addition) => product({ ...SPEC, activation, ...addition }).kernel.wgsl));
  assertEquals(texts("none").size, 1);
  assertEquals(texts("silu"), texts("quick_gelu"));
});

Deno.test("a batch of products refuses what only layers have", () => {
  for (const addition of [{ bias }, { plus: x }, { activation: "silu" }] as const) {
    assertThrows(() => product({ ...SPEC, batch: SINGLE, ...addition }), RangeError, "A batch of products has no bias");
  }
});
