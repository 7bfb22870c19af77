import { assertEquals, assertThrows } from "@std/assert";
import { decodePng, encodePng } from "../../cli/png.ts";
import { pngBytes, type PngParts } from "./png_bytes.ts";

/** More than one byte, and none of the passes of Adam7 empty. */
const SIZE = { width: 11, height: 9 };

const KINDS: readonly (readonly [colourType: PngParts["colourType"], channels: number, depths: readonly number[]])[] = [
  [0, 1, [1, 2, 4, 8, 16]],
  [2, 3, [8, 16]],
  [3, 1, [1, 2, 4, 8]],
  [4, 2, [8, 16]],
  [6, 4, [8, 16]],
];

/** What a pixel of `kind` must become: samples to 8 bits, transparency over white. */
function colourOf({ colourType, depth, palette }: PngParts, samples: readonly number[]): number[] {
  if (colourType === 3) return palette!.slice(3 * samples[0]!, 3 * samples[0]! + 3);
  const bytes = samples.map((sample) => Math.round(sample / (2 ** depth - 1) * 255));
  const alpha = colourType >= 4 ? bytes.at(-1)! : 255;
  const colour = colourType === 2 || colourType === 6 ? bytes.slice(0, 3) : Array<number>(3).fill(bytes[0]!);
  return colour.map((value) => Math.round((value * alpha + 255 * (255 - alpha)) / 255));
}

Deno.test("every colour type and depth is read, interlaced or not", async (t) => {
  for (const [colourType, channels, depths] of KINDS) {
    for (const depth of depths) {
      for (const interlaced of [false, true]) {
        await t.step(`colour type ${colourType}, ${depth} bits${interlaced ? ", interlaced" : ""}`, () => {
          const parts: PngParts = {
            ...SIZE,
            colourType,
            depth,
            interlaced,
            pixel: (x, y) =>
              Array.from({ length: channels }, (_, c) => (x * 7919 + y * 104729 + c * 31337) % 2 ** depth),
            ...(colourType === 3 && { palette: Array.from({ length: 3 * 2 ** depth }, (_, i) => i * 37 % 256) }),
          };
          const { width, height, pixels } = decodePng(pngBytes(parts));
          const want = Array.from(
            { length: width * height },
            (_, i) => colourOf(parts, parts.pixel(i % width, Math.floor(i / width))),
          ).flat();
          assertEquals({ width, height }, SIZE);
          assertEquals([...pixels], want);
        });
      }
    }
  }
});

Deno.test("what is transparent shows the background", () => {
  const size = { width: 2, height: 1, depth: 8 } as const;
  const one = (x: number) => [x === 0 ? 10 : 200];
  const grey = { ...size, colourType: 0, pixel: one, transparency: [0, 10] } as const;
  assertEquals([...decodePng(pngBytes(grey)).pixels], [255, 255, 255, 200, 200, 200]);
  const palette = { ...size, colourType: 3, palette: [1, 2, 3, 60, 60, 60], transparency: [255, 0] } as const;
  assertEquals([...decodePng(pngBytes({ ...palette, pixel: (x) => [x] }), 0).pixels], [1, 2, 3, 0, 0, 0]);
  const half = { ...size, colourType: 4, pixel: (x: number) => [100, x === 0 ? 0 : 51] } as const;
  assertEquals([...decodePng(pngBytes(half)).pixels], [255, 255, 255, 224, 224, 224]);
  assertEquals([...decodePng(pngBytes(half), 0).pixels], [0, 0, 0, 20, 20, 20]);
});

Deno.test("a picture that was written is read as it was", () => {
  const image = { width: 5, height: 3, pixels: Uint8Array.from({ length: 45 }, (_, i) => i * 5) };
  assertEquals(decodePng(encodePng(image)), image);
});

Deno.test("what is not a whole PNG is refused in words", () => {
  const whole = encodePng({ width: 40, height: 30, pixels: new Uint8Array(3600).map((_, i) => i * i % 251) });
  const text = (start: string) => Uint8Array.from(start.padEnd(40), (letter) => letter.charCodeAt(0));
  const cases: readonly (readonly [Uint8Array, string])[] = [
    [new Uint8Array(), "it is not a PNG"],
    [text("P6 1 1"), "it is not a PNG"],
    [text("\xff\xd8\xff\xe0"), "it is a JPEG; only PNG is read"],
    [text("GIF89a"), "it is a GIF"],
    [text("RIFF....WEBP"), "it is a WebP"],
    [whole.subarray(0, 20), "it is a damaged PNG: it ends in its header"],
    [whole.subarray(0, 60), "it is a damaged PNG: "],
    [whole.subarray(0, whole.length - 200), "it is a damaged PNG: "],
    [whole.map((byte, i) => i === 60 ? byte ^ 1 : byte), "it is a damaged PNG: "],
    [whole.map((byte, i) => i === 25 ? 5 : byte), "it is a damaged PNG: "],
  ];
  for (const [bytes, message] of cases) assertThrows(() => decodePng(bytes), SyntaxError, message);
});

Deno.test("too large a picture is refused by its header", () => {
  const small = pngBytes({ width: 1, height: 1, depth: 8, colourType: 0, pixel: () => [0] });
  new DataView(small.buffer).setUint32(16, 2 ** 16);
  new DataView(small.buffer).setUint32(20, 2 ** 10 + 1);
  assertThrows(() => decodePng(small), RangeError, "it has 65536x1025 pixels; at most 67108864 are read");
});
