import { assert, assertEquals } from "@std/assert";
import { edges } from "../../pipeline/canny.ts";
import type { Image, Thresholds } from "../../pipeline/request.ts";

function picture(width: number, height: number, colour: (x: number, y: number) => readonly number[]): Image {
  const pixels = Array.from({ length: width * height }, (_, i) => colour(i % width, Math.floor(i / width))).flat();
  return { width, height, pixels: Uint8Array.from(pixels) };
}

/** Edges as rows of text: # is one. */
function drawn({ width, pixels }: Image): readonly string[] {
  const marks = Array.from(pixels).filter((_, i) => i % 3 === 0).map((value) => value === 255 ? "#" : ".").join("");
  return marks.match(new RegExp(`.{${width}}`, "g"))!;
}

/** The same by angles and floods, pixel by pixel. */
function definition({ width, height, pixels }: Image, thresholds: Thresholds): readonly string[] {
  const [low, high] = [Math.min(...thresholds), Math.max(...thresholds)];
  const clamp = (value: number, end: number) => Math.min(Math.max(value, 0), end - 1);
  const at = (x: number, y: number, c: number) => pixels[(clamp(y, height) * width + clamp(x, width)) * 3 + c]!;
  const kernel = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]];
  const gradient = (x: number, y: number) => {
    if (x < 0 || y < 0 || x >= width || y >= height) return { dx: 0, dy: 0, size: 0 };
    const all = [0, 1, 2].map((c) => {
      let [dx, dy] = [0, 0];
      for (let j = 0; j < 3; j++) {
        for (let i = 0; i < 3; i++) {
          dx += kernel[j]![i]! * at(x + i - 1, y + j - 1, c);
          dy += kernel[i]![j]! * at(x + i - 1, y + j - 1, c);
        }
      }
      return { dx, dy, size: Math.abs(dx) + Math.abs(dy) };
    });
    return all.reduce((best, one) => one.size > best.size ? one : best);
  };
  const peaks = new Map<string, number>();
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const { dx, dy, size } = gradient(x, y);
      if (size <= low) continue;
      // The angle of the gradient, without its sign.
      const angle = (Math.atan2(dy, dx) * 180 / Math.PI + 180) % 180;
      const isDiagonal = (angle > 22.5 && angle < 67.5) || (angle > 112.5 && angle < 157.5);
      const [i, j] = isDiagonal ? [angle < 90 ? 1 : -1, 1] : angle > 67.5 && angle < 112.5 ? [0, 1] : [1, 0];
      const [before, after] = [gradient(x - i, y - j).size, gradient(x + i, y + j).size];
      if (size > before && (isDiagonal ? size > after : size >= after)) peaks.set(`${x},${y}`, size);
    }
  }
  const found = new Set([...peaks].filter(([, size]) => size > high).map(([key]) => key));
  for (let before = -1; before < found.size;) {
    before = found.size;
    for (const key of [...found]) {
      const [x, y] = key.split(",").map(Number) as [number, number];
      for (let j = -1; j <= 1; j++) {
        for (let i = -1; i <= 1; i++) if (peaks.has(`${x + i},${y + j}`)) found.add(`${x + i},${y + j}`);
      }
    }
  }
  return Array.from(
    { length: height },
    (_, y) => Array.from({ length: width }, (_, x) => found.has(`${x},${y}`) ? "#" : ".").join(""),
  );
}

Deno.test("edges lie where OpenCV draws them: on the first of two pixels, and only what hangs on a strong one counts", () => {
  const step = (level: number) => picture(8, 3, (x) => x < 4 ? [0, 0, 0] : [level, 0, 0]);
  assertEquals(drawn(edges(step(255), [100, 200])), Array(3).fill("...#...."));
  // Four times the step is its gradient.
  assertEquals(drawn(edges(step(50), [100, 200])), Array(3).fill("........"));
  assertEquals(drawn(edges(step(51), [100, 200])), Array(3).fill("...#...."));
  const fading = picture(8, 6, (x, y) => x < 4 ? [0, 0, 0] : Array(3).fill(y < 2 ? 60 : y < 4 ? 40 : 10));
  const rows = drawn(edges(fading, [100, 200]));
  assertEquals(rows, definition(fading, [100, 200]));
  assertEquals([rows[0], rows[5]], ["...#....", "........"]);
  assert(rows[3]!.includes("#"));
});

Deno.test("edges are those of the definition, whatever the picture", () => {
  let seed = 1;
  const random = () => (seed = Math.imul(seed, 48271) >>> 0) / 2 ** 32;
  const noise = picture(37, 29, () => [random() * 256, random() * 256, random() * 256]);
  const shapes = picture(61, 45, (x, y) => {
    const disc = (x - 20) ** 2 + (y - 20) ** 2 < 150;
    const stripe = (2 * x + y) % 31 < 9;
    return [disc ? 220 : 30, stripe ? 90 : 10 + x, disc !== stripe ? 160 : 4 * y];
  });
  const smooth = picture(
    48,
    40,
    (x, y) => [128 + 100 * Math.sin(x / 3), 128 + 90 * Math.cos((x + y) / 5), 2 * x + 3 * y],
  );
  const small = [[1, 1], [1, 9], [9, 1], [2, 2]].map(([width, height]) => {
    return picture(width!, height!, () => [random() * 256, 0, random() * 256]);
  });
  for (const image of [noise, shapes, smooth, ...small]) {
    for (const thresholds of [[100, 200], [200, 100], [0, 0], [30, 60], [400, 900], [2040, 2040]] as const) {
      const got = edges(image, thresholds);
      assertEquals(drawn(got), definition(image, thresholds), `${image.width}x${image.height}, ${thresholds}`);
      assert(got.pixels.every((value, i) => value === got.pixels[i - i % 3]));
    }
  }
  assert(drawn(edges(shapes, [100, 200])).join("").match(/#/g)!.length > 100);
});
