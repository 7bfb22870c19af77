import { assert, assertEquals, assertThrows } from "@std/assert";
import { Buffer } from "node:buffer";
import { deflateSync, inflateSync } from "node:zlib";
import { PNG } from "pngjs";
import { decodePng, encodePng } from "../../cli/png.ts";
import { type Chunk, header, pngBytes, pngOf, type PngParts } from "./png_bytes.ts";

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

/** Rows without filters, by the letter of the specification and apart from the reader under test. */
function unfiltered(png: Uint8Array, width: number, height: number): Uint8Array {
  const at = Buffer.from(png).indexOf("IDAT");
  const size = new DataView(png.buffer).getUint32(at - 4);
  const rows = inflateSync(png.subarray(at + 4, at + 4 + size));
  const bytes = 3 * width;
  const pixels = new Uint8Array(height * bytes);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < bytes; x++) {
      const before = (across: number, down: number) => {
        const [column, row] = [x - 3 * across, y - down];
        return column < 0 || row < 0 ? 0 : pixels[row * bytes + column]!;
      };
      const [a, b, c] = [before(1, 0), before(0, 1), before(1, 1)];
      const p = a + b - c;
      const paeth = [a, b, c].toSorted((one, other) => Math.abs(p - one) - Math.abs(p - other))[0]!;
      const filters = [0, a, b, Math.floor((a + b) / 2), paeth];
      pixels[y * bytes + x] = rows[y * (bytes + 1) + 1 + x]! + filters[rows[y * (bytes + 1)]!]!;
    }
  }
  return pixels;
}

Deno.test("a picture that was written is read as it was, by three readers, and is what pngjs writes", () => {
  const sides = [[1, 1], [2, 1], [1, 7], [5, 3], [8, 8], [31, 17], [64, 64], [65, 33], [100, 1], [256, 64], [72, 128]];
  for (const [width = 0, height = 0] of [...sides, [513, 300]]) {
    // A third of the rows is smooth, a third repeats, a third is noise: each wants another filter.
    const value = (i: number) => {
      const y = Math.floor(i / 3 / width);
      return y % 3 === 0 ? i / 9 + 7 * y : y % 3 === 1 ? i % 251 : Math.imul(i, 2654435761) >>> 24;
    };
    const image = { width, height, pixels: Uint8Array.from({ length: 3 * width * height }, (_, i) => value(i)) };
    const png = encodePng(image);
    assertEquals(encodePng(image), png);
    assertEquals(decodePng(png), image);
    assertEquals(unfiltered(png, width, height), image.pixels);
    const rgba: Uint8Array = PNG.sync.read(Buffer.from(png)).data;
    assertEquals(rgba.filter((_, i) => i % 4 < 3).toHex(), image.pixels.toHex());
    const colours = { colorType: 2, inputColorType: 2, inputHasAlpha: false } as const;
    const theirs = new PNG({ width, height, ...colours });
    theirs.data = Buffer.from(image.pixels);
    assertEquals(png.toHex(), PNG.sync.write(theirs, colours).toString("hex"));
  }
});

Deno.test("memory does not grow with the number of pictures that are written and read", async () => {
  const script = `
    import { decodePng, encodePng } from "${new URL("../../cli/png.ts", import.meta.url)}";
    const image = { width: 64, height: 64, pixels: Uint8Array.from({ length: 12_288 }, (_, i) => i * i >> 7) };
    const work = (count) => {
      for (let i = 0; i < count; i++) decodePng(encodePng(image));
      gc();
      return Deno.memoryUsage().rss / 2 ** 20;
    };
    const before = work(100);
    console.log(work(600) - before);`;
  const args = ["eval", "--v8-flags=--expose-gc", script];
  const cwd = new URL("../..", import.meta.url);
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd, env: { NO_COLOR: "1" } }).output();
  const growth = Number(new TextDecoder().decode(stdout));
  // The streams of pngjs keep 200 MiB of as many.
  assert(growth < 32, `${growth} MiB, ${new TextDecoder().decode(stderr)}`);
});

Deno.test("what is not a whole PNG is refused in words", () => {
  const whole = encodePng({ width: 40, height: 30, pixels: new Uint8Array(3600).map((_, i) => i * i % 251) });
  const text = (start: string) => Uint8Array.from(start.padEnd(40), (letter) => letter.charCodeAt(0));
  const rows = (count: number): Chunk => ["IDAT", deflateSync(new Uint8Array(count))];
  const end: Chunk = ["IEND", []];
  const small = (size: number) => [header(2, 2), rows(size), end];
  const cases: readonly (readonly [Uint8Array, string])[] = [
    [new Uint8Array(), "it is not a PNG"],
    [text("P6 1 1"), "it is not a PNG"],
    [text("\xff\xd8\xff\xe0"), "it is a JPEG; only PNG is read"],
    [text("GIF89a"), "it is a GIF"],
    [text("RIFF....WEBP"), "it is a WebP"],
    ...[8, 20, 60, whole.length - 200, whole.length - 12].map((length) =>
      [whole.subarray(0, length), "it is a damaged PNG: it ends too early"] as const
    ),
    [whole.map((byte, i) => i === 60 ? byte ^ 1 : byte), "the checksum of a chunk IDAT is wrong"],
    [whole.map((byte, i) => i === 25 ? 5 : byte), "the checksum of a chunk IHDR is wrong"],
    [pngOf(rows(14), end), "it must begin with a header, and have no other"],
    [pngOf(header(2, 2), header(40_000, 40_000), rows(14), end), "and have no other"],
    [pngOf(header(2, 2), end), "it holds no pixels"],
    [pngOf(...small(13)), "it has fewer pixels than its header says"],
    [pngOf(...small(2 ** 24)), "its pixels would fill more than 14 bytes"],
    [pngOf(header(2, 2, [8, 2, 0, 0, 1]), rows(2 ** 24), end), "its pixels would fill more than 15 bytes"],
    [pngOf(header(2, 2), ["IDAT", [1, 2, 3]], end), "its pixels cannot be unpacked"],
    [pngOf(header(2, 2), ["IDAT", deflateSync(new Uint8Array(14).fill(9))], end), "a row has the filter 9"],
    [pngOf(header(0, 2), rows(2), end), "it has 0x2 pixels"],
    ...[[7, 2], [16, 3], [8, 5], [8, 7], [8, 2, 1], [8, 2, 0, 1], [8, 2, 0, 0, 2]].map((values) => {
      const rest = [...values, 0, 0, 0].slice(0, 5);
      return [pngOf(header(2, 2, rest), rows(14), end), "its header has a value that there is not"] as const;
    }),
    [pngOf(header(2, 2, [8, 3, 0, 0, 0]), rows(6), end), "it has no palette"],
    [pngOf(header(1, 1, [8, 3, 0, 0, 0]), ["PLTE", []], rows(2), end), "a pixel has colour 0"],
    [pngOf(["IHDR", []], end), "its header has 0 bytes, and must have 13"],
  ];
  for (const [bytes, message] of cases) {
    const error = assertThrows(() => decodePng(bytes), Error, message);
    assert(error instanceof SyntaxError || error instanceof RangeError);
  }
  const image = { width: 2, height: 2, pixels: new Uint8Array(12) };
  const followed = Uint8Array.from([...pngOf(...small(14)), 1, 2, 3]);
  assertEquals([decodePng(pngOf(...small(14))), decodePng(followed)], [image, image]);
});

Deno.test("too large a picture is refused by its header, and too many chunks are", () => {
  const large = pngOf(header(2 ** 16, 2 ** 10 + 1), ["IDAT", []], ["IEND", []]);
  assertThrows(() => decodePng(large), RangeError, "it has 65536x1025 pixels; at most 67108864 are read");
  const chunk = pngOf(["tIME", []]).subarray(8);
  const many = new Uint8Array(45 + 2 ** 17 * chunk.length);
  many.set(pngOf(header(1, 1)).subarray(0, 33));
  for (let at = 33; at + chunk.length <= many.length; at += chunk.length) many.set(chunk, at);
  assertThrows(() => decodePng(many), RangeError, "it has more than 131072 chunks");
});
