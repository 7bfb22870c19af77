import { assertEquals, assertThrows } from "@std/assert";
import { GpuFailedError } from "../../kernels/mod.ts";
import { fromImage, toImage, toMask } from "../../pipeline/image.ts";
import { drawLatent } from "../../pipeline/preview.ts";

Deno.test("a picture's values are -1 to 1, channel by channel, and come back", () => {
  const pixels = Uint8Array.from(
    { length: 256 * 3 },
    (_, i) => i % 3 === 0 ? Math.floor(i / 3) : i % 3 === 1 ? 255 : 0,
  );
  const values = fromImage({ width: 128, height: 2, pixels });
  assertEquals([values[0], values[255], values[256], values[512]], [-1, 1, 1, -1]);
  assertEquals(values[51], Math.fround(2 * 51 / 255 - 1));
  assertEquals(toImage(values, { width: 128, height: 2, what: "The preview" }).pixels, pixels);
});

Deno.test("one value that is not finite, wherever it is, is no picture", () => {
  for (const value of [NaN, Infinity, -Infinity]) {
    for (const at of [0, 1, 4, 11]) {
      const values = new Float32Array(12);
      values[at] = value;
      const size = { width: 2, height: 2 };
      assertThrows(() => toImage(values, { ...size, what: "The preview" }), GpuFailedError, "The preview holds values");
      // Through the map of colours, whose factors may be 0.
      const rgb = [[0, 0, 0], [1, 1, 1], [0, 0, 0], [1, 2, 3]];
      assertThrows(() => drawLatent(values, { ...size, rgb }), GpuFailedError, "The preview holds values");
    }
  }
});

Deno.test("a mask paints where the first pixel of a block is at least half white", () => {
  const width = 16;
  const masked = (colour: readonly number[], x = 0, y = 0) => {
    const pixels = new Uint8Array(3 * width * 8);
    pixels.set(colour, 3 * (y * width + x));
    return [...toMask({ width, height: 8, pixels }, 8)];
  };
  assertEquals(masked([255, 255, 255]), [1, 0]);
  assertEquals(masked([255, 255, 255], 8), [0, 1]);
  assertEquals(masked([255, 255, 255], 1, 1), [0, 0]);
  assertEquals(masked([127, 127, 127]), [0, 0]);
  assertEquals(masked([128, 128, 128]), [1, 0]);
  // Green is more than half of the brightness, red and blue together are less.
  assertEquals(masked([0, 255, 0]), [1, 0]);
  assertEquals(masked([255, 0, 255]), [0, 0]);
  assertEquals(toMask({ width: 24, height: 16, pixels: new Uint8Array(3 * 24 * 16) }, 8).length, 6);
});
