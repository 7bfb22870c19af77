import { assert, assertEquals } from "@std/assert";
import type { Image } from "../../pipeline/request.ts";
import { resize } from "../../pipeline/resize.ts";

type Colour = (x: number, y: number, channel: number) => number;

function picture(width: number, height: number, colour: Colour): Image {
  const pixels = Uint8Array.from({ length: 3 * width * height }, (_, i) => {
    const pixel = Math.floor(i / 3);
    return colour(pixel % width, Math.floor(pixel / width), i % 3);
  });
  return { width, height, pixels };
}

/** Waves of three periods, far enough from black and white that no sum of weights leaves 8 bits. */
const waves: Colour = (x, y, channel) => 128 + 60 * Math.sin(x / (2 + channel)) * Math.cos(y / (3 - channel / 2));

function lanczos(x: number): number {
  if (x === 0) return 1;
  if (Math.abs(x) >= 3) return 0;
  return 3 * Math.sin(Math.PI * x) * Math.sin(Math.PI * x / 3) / (Math.PI * x) ** 2;
}

/** The filter by its definition: every input pixel, both directions at once, float64, one rounding. */
function definition({ width, height, pixels }: Image, toWidth: number, toHeight: number): Float64Array {
  const weights = (input: number, output: number, at: number) => {
    const scale = input / output;
    const stretch = Math.max(1, scale);
    return Array.from({ length: input }, (_, i) => lanczos((i + 0.5 - (at + 0.5) * scale) / stretch));
  };
  return Float64Array.from({ length: toWidth * toHeight * 3 }, (_, i) => {
    const pixel = Math.floor(i / 3);
    const across = weights(width, toWidth, pixel % toWidth);
    const down = weights(height, toHeight, Math.floor(pixel / toWidth));
    let [sum, total] = [0, 0];
    down.forEach((row, y) =>
      across.forEach((column, x) => {
        sum += row * column * pixels[(y * width + x) * 3 + i % 3]!;
        total += row * column;
      })
    );
    return sum / total;
  });
}

Deno.test("a resized picture is the Lanczos filter's, to a level of 255", async (t) => {
  const image = picture(23, 17, waves);
  for (const [width, height] of [[46, 34], [8, 8], [64, 9], [7, 40], [23, 30], [23, 17], [1, 1]] as const) {
    await t.step(`23x17 to ${width}x${height}`, () => {
      const got = resize(image, width, height);
      assertEquals([got.width, got.height, got.pixels.length], [width, height, 3 * width * height]);
      const want = definition(image, width, height);
      const furthest = got.pixels.reduce((most, value, i) => Math.max(most, Math.abs(value - Math.round(want[i]!))), 0);
      assert(furthest <= 1, `a value is off by ${furthest}`);
    });
  }
});

Deno.test("resizing keeps the same size, one colour, and the range of 8 bits", () => {
  const noise = picture(9, 5, (x, y, channel) => (x * 97 + y * 57 + channel * 31) % 256);
  assertEquals(resize(noise, 9, 5).pixels, noise.pixels);
  const plain = resize(picture(6, 4, (_x, _y, channel) => [255, 0, 130][channel]!), 31, 3);
  assertEquals(plain.pixels, picture(31, 3, (_x, _y, channel) => [255, 0, 130][channel]!).pixels);
  // The filter rings beside an edge: where it would leave the range, it is black or white.
  const edge = resize(picture(8, 1, (x) => x < 4 ? 0 : 255), 32, 1).pixels.filter((_, i) => i % 3 === 0);
  assertEquals([edge[0], edge[13], edge[18], edge[31]], [0, 0, 255, 255]);
  assertEquals(edge.toReversed(), edge.map((value) => 255 - value));
});
