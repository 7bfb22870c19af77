import { GpuMemoryError } from "../../kernels/errors.ts";
import { assertEquals, assertThrows } from "@std/assert";
import { channelsOf, columns, firstSample, pixels, shapeText, type Tensor } from "../../kernels/tensor.ts";
import { textureLayout } from "../../kernels/texture/layout.ts";
import { BACKENDS, randomValues } from "./harness.ts";

const LAYOUT = textureLayout(12, 70);
const X: Tensor = {
  batch: 2,
  channels: 12,
  height: 5,
  width: 7,
  memory: { layout: LAYOUT, label: "x", kept: false },
  firstRow: 0,
};

Deno.test("a tensor's columns are all pixels of all samples", () => {
  assertEquals([columns(X), pixels(X), shapeText(X)], [70, 35, "[2, 12, 5, 7]"]);
});

Deno.test("a view of a view starts where both say", () => {
  const view = channelsOf(channelsOf(X, 4, 8), 4, 3);
  assertEquals(view, { ...X, channels: 3, firstRow: 8 });
  assertEquals(firstSample(view), { ...view, batch: 1 });
});

Deno.test("views outside a tensor or between texels are refused", () => {
  for (const [first, count] of [[-4, 4], [0, 13], [12, 1], [8, 5], [0, 0], [2, 4]] as const) {
    const text = `Channels ${first} to ${first + count} of 12 cannot be viewed`;
    assertThrows(() => channelsOf(X, first, count), RangeError, text);
  }
});

Deno.test("a matrix that is too large for a texture is refused", () => {
  assertThrows(() => textureLayout(65540, 1), GpuMemoryError, "65540 channels of 1 pixels do not fit");
  assertThrows(() => textureLayout(32772, 16385), GpuMemoryError, "32772 channels of 16385 pixels");
});

for (const backend of BACKENDS) {
  Deno.test(`${backend.name}: what is encoded can be decoded`, () => {
    for (const [rows, batch, pixels] of [[1, 1, 1], [3, 2, 5], [8, 3, 4], [5, 1, 16400], [2, 4, 8193]] as const) {
      const shape = { layout: backend.layout(rows, batch, pixels), rows, batch, pixels };
      const values = Float32Array.from(randomValues(1, rows * batch * pixels));
      assertEquals(backend.decode(shape, backend.encode(shape, values)), values);
    }
  });
}
